"""`docs/security.md`: every threat names the attack, the result and tests, and each of these exists."""

import pytest

from tests.docs.pages import get_page
from tests.docs.proofs import Line, expect_nothing_but_tests, expect_tests, list_lines

PAGE = get_page("docs/security.md")
LINES = list_lines(PAGE.sections()["Threats"])


def test_the_top_ten_are_all_there() -> None:
    for number in range(1, 11):
        assert any(line.claim.startswith(f"**API{number} ") for line in LINES), number


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"line {line.number}")
def test_a_threat_has_its_attack_its_result_and_tests_that_exist(line: Line) -> None:
    threat, attack, result = (cell.strip() for cell in line.claim.split("|"))
    assert threat
    assert attack
    assert result
    expect_tests(PAGE, line)
    expect_nothing_but_tests(line)
