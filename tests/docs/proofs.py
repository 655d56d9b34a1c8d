"""Tables of a page whose last column links the tests that prove a line."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.docs.pages import ROOT, Page

TESTS = ROOT / "tests"
PROOF = re.compile(r"\[([\w/]+\.py)::(test_\w+)\]\(([^)]+)\)")


class Line(NamedTuple):
    """One line of a table."""

    number: int
    text: str
    claim: str
    proofs: list[tuple[str, ...]]


def list_lines(prose: str) -> list[Line]:
    """Every line of every table, without heads and rules."""
    found: list[Line] = []
    table: list[Line] = []
    for number, text in enumerate([*prose.splitlines(), ""], start=1):
        if text.startswith("|"):
            cells = text.strip("|").split("|")
            table.append(Line(number, text, "|".join(cells[:-1]).strip(), PROOF.findall(cells[-1])))
        else:
            found += table[2:]
            table = []
    return found


@cache
def names_in(path: Path) -> frozenset[str]:
    """The tests of a module, also those in classes, as pytest would find them."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(
        node.name
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def expect_tests(page: Page, line: Line) -> None:
    """It links tests, and each of them exists."""
    assert line.proofs, f"no test is linked: {line.text}"
    for path, name, target in line.proofs:
        assert (page.path.parent / target).resolve() == TESTS / path, "the link leads to another file"
        assert (TESTS / path).is_file(), path
        assert (TESTS / path).name.startswith("test_"), f"{path} is not collected"
        assert name in names_in(TESTS / path), f"{path} has no {name}"


def expect_nothing_but_tests(line: Line) -> None:
    """Its last cell holds links and nothing else."""
    last = line.text.strip("|").split("|")[-1]
    assert PROOF.sub("", last).replace("<br>", "").strip() == ""
