"""`docs/guarantees.md`: every line names tests that prove it, and each of them exists."""

from datetime import timedelta
from pathlib import Path

import pytest

from services.gateway.keyring import WITHOUT_AUTH_S
from services.ingest.settings import IngestSettings
from services.redis_shares import KEEP_CLAIMS
from shared.contracts import usage
from shared.event_log.kafka.topics import REPLICAS
from tests.docs.pages import get_page
from tests.docs.proofs import PROOF, Line, expect_nothing_but_tests, expect_tests, list_lines, names_in

PAGE = get_page("docs/guarantees.md")
LINES = list_lines(PAGE.prose)


def test_there_are_lines_in_every_section() -> None:
    titles = [title for title in PAGE.sections() if title not in ("", "Guarantees")]
    assert len(titles) >= 5
    assert all("|---" in PAGE.sections()[title] for title in titles)
    assert len(LINES) > 40


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"line {line.number}")
def test_a_line_names_tests_and_each_exists(line: Line) -> None:
    assert line.claim
    expect_tests(PAGE, line)


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"line {line.number}")
def test_the_last_cell_has_nothing_but_tests(line: Line) -> None:
    expect_nothing_but_tests(line)


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
