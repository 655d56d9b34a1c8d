"""`docs/guarantees.md`: every line names tests that prove it, and each of them exists."""

import ast
import re
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from services.all_in_one import KEEP_CLAIMS
from services.gateway.keyring import WITHOUT_AUTH_S
from services.ingest.settings import IngestSettings
from shared.contracts import usage
from shared.event_log.kafka.topics import REPLICAS
from tests.docs.pages import ROOT, get_page

PAGE = get_page("docs/guarantees.md")
TESTS = ROOT / "tests"
PROOF = re.compile(r"\[([\w/]+\.py)::(test_\w+)\]\(([^)]+)\)")


class Line(NamedTuple):
    """One line of a table."""

    number: int
    text: str
    claim: str
    proofs: list[tuple[str, ...]]


def list_lines() -> list[Line]:
    """Every line of every table, without heads and rules."""
    found: list[Line] = []
    table: list[Line] = []
    for number, text in enumerate([*PAGE.prose.splitlines(), ""], start=1):
        if text.startswith("|"):
            cells = text.strip("|").split("|")
            table.append(Line(number, text, "|".join(cells[:-1]).strip(), PROOF.findall(cells[-1])))
        else:
            found += table[2:]
            table = []
    return found


LINES = list_lines()


@cache
def names_in(path: Path) -> frozenset[str]:
    """The tests of a module, also those in classes, as pytest would find them."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(
        node.name
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def test_there_are_lines_in_every_section() -> None:
    titles = [title for title in PAGE.sections() if title not in ("", "Guarantees")]
    assert len(titles) >= 5
    assert all("|---" in PAGE.sections()[title] for title in titles)
    assert len(LINES) > 40


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"line {line.number}")
def test_a_line_names_tests_and_each_exists(line: Line) -> None:
    assert line.claim
    assert line.proofs, f"no test is linked: {line.text}"
    for path, name, target in line.proofs:
        assert (PAGE.path.parent / target).resolve() == TESTS / path, "the link leads to another file"
        assert (TESTS / path).is_file(), path
        assert (TESTS / path).name.startswith("test_"), f"{path} is not collected"
        assert name in names_in(TESTS / path), f"{path} has no {name}"


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"line {line.number}")
def test_the_last_cell_has_nothing_but_tests(line: Line) -> None:
    last = line.text.strip("|").split("|")[-1]
    assert PROOF.sub("", last).replace("<br>", "").strip() == ""


def test_the_figures_are_those_of_the_code() -> None:
    settings = IngestSettings()
    kib = 1024
    for figure in (
        f"up to {settings.read_wait_ms} ms",
        f"for {KEEP_CLAIMS // timedelta(hours=1)} hours",
        f"for {WITHOUT_AUTH_S / 60:.0f} minutes",
        f"1 to {usage.MAX_BATCH_RECORDS:,} records",
        f"{usage.MAX_LOG_BODY_BYTES // kib} KiB at most",
        f"that of a batch {usage.MAX_BATCH_BODY_BYTES // kib // kib} MiB",
        f"`metadata` {usage.MAX_METADATA_BYTES // kib} KiB",
    ):
        assert figure in PAGE.prose, figure
    assert (settings.max_skew_s, "five minutes ahead" in PAGE.prose) == (300, True)
    assert (REPLICAS, "at least two brokers" in PAGE.prose.lower()) == (3, True)


def test_a_line_without_a_test_or_with_a_wrong_one_would_be_found() -> None:
    assert PROOF.findall("none") == []
    assert "test_that_is_not_there" not in names_in(Path(__file__))
    assert "test_a_line_names_tests_and_each_exists" in names_in(Path(__file__))
