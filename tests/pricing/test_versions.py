from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.pricing.versions import Timeline, VersionKey, next_version, parse_version


class Dated(NamedTuple):
    version: str
    effective_from: datetime


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    "name",
    ["", "latest", "2026.5.3", "2026-05-03", "2026.02.30", "0000.00.00", "2026.05.03.1", "2026.05.03.0",
     "2026.05.03.02", "2026.05.03.", "2026.05.03.2.3", "2026.05.03\n", "\u0662026.05.03", "20260.5.03",
     "2026.05.03.9999999", "v2026.05.03"],
)  # fmt: skip
def test_anything_but_a_real_day_with_its_ordinal_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"must be|is not a day"):
        parse_version(name)


@given(st.dates(), st.integers(1, 99_999))
def test_a_name_says_its_key_and_a_key_its_name(day: date, ordinal: int) -> None:
    key = VersionKey(day, ordinal)
    assert parse_version(key.name()) == key


def test_the_tenth_version_of_a_day_sorts_after_the_ninth() -> None:
    names = ["2026.05.02.30", "2026.05.03", "2026.05.03.2", "2026.05.03.9", "2026.05.03.10", "2026.05.04"]
    assert sorted(names, key=parse_version) == names


def test_versions_follow_each_other_even_when_the_clock_went_back() -> None:
    key = None
    names = []
    for day in (3, 3, 4, 2, 5):
        key = next_version(key, date(2026, 5, day))
        names.append(key.name())
    assert names == ["2026.05.03", "2026.05.03.2", "2026.05.04", "2026.05.04.2", "2026.05.05"]
    assert all(a < b for a, b in pairwise(map(parse_version, names)))


def test_a_version_is_in_force_from_its_very_instant() -> None:
    timeline = Timeline([Dated("2026.03.01", at(1)), Dated("2026.03.02", at(5))])
    assert timeline.find_in_force(at(5) - timedelta(microseconds=1)) == Dated("2026.03.01", at(1))
    assert timeline.find_in_force(at(5)) == Dated("2026.03.02", at(5))


def test_before_all_versions_the_first_one_is_in_force() -> None:
    timeline = Timeline([Dated("2026.03.02", at(5)), Dated("2026.03.01", at(1))])
    assert timeline.find_in_force(at(1) - timedelta(days=900)) == Dated("2026.03.01", at(1))
    assert Timeline[Dated]([]).find_in_force(at(1)) is None


def test_a_later_publish_with_an_earlier_start_corrects_what_came_between() -> None:
    old, new = Dated("2026.03.03", at(3)), Dated("2026.03.10", at(2))
    timeline = Timeline([Dated("2026.03.01", at(1)), old, new])
    assert timeline.find_in_force(at(1, 12)) == Dated("2026.03.01", at(1))
    assert timeline.find_in_force(at(2)) == new
    assert timeline.find_in_force(at(4)) == new


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 40)), max_size=12), st.integers(0, 41))
def test_the_timeline_agrees_with_its_definition(rows: list[tuple[int, int]], probe: int) -> None:
    start = at(1)
    versions = [
        Dated(VersionKey(date(2026, 3, 1), n).name(), start + timedelta(hours=hours))
        for n, hours in dict(rows).items()
    ]
    instant = start + timedelta(hours=probe)
    begun = [version for version in versions if version.effective_from <= instant]
    found = Timeline(versions).find_in_force(instant)
    if begun:
        assert found == max(begun, key=lambda version: parse_version(version.version))
    elif versions:
        assert found is not None
        assert found.effective_from == min(version.effective_from for version in versions)
    else:
        assert found is None
