"""When a delivery is tried again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.schedule import DELAYS, LONGEST_RETRY_AFTER, find_delay, parse_retry_after

NOW = datetime(2031, 5, 3, 12, tzinfo=UTC)


def test_a_delivery_is_tried_for_a_day_with_ever_longer_pauses() -> None:
    longest = [find_delay(tries, chance=0) for tries in range(1, len(DELAYS) + 2)]
    assert longest[:3] == [timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=2)]
    assert longest.pop() is None
    assert timedelta(hours=23) < sum((each for each in longest if each), timedelta()) <= timedelta(hours=24)


@given(st.integers(1, len(DELAYS)), st.floats(0, 1), st.timedeltas(timedelta(), timedelta(days=9)))
def test_a_receiver_gets_the_time_it_asks_for_within_bounds(
    tries: int, chance: float, asked: timedelta
) -> None:
    own = find_delay(tries, chance=chance)
    delay = find_delay(tries, asked, chance=chance)
    assert own is not None
    assert delay is not None
    assert 0.8 * DELAYS[tries - 1] - timedelta(microseconds=1) <= own <= DELAYS[tries - 1]
    assert delay >= max(own, min(asked, LONGEST_RETRY_AFTER))
    assert delay <= max(own, LONGEST_RETRY_AFTER)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("١٢", None),
        ("Fri, 99 Foo 2031 12:00:00 GMT", None),
        ("Fri, 01 Jan 99999999999 00:00:00 GMT", None),
        ("Fri, 01 Jan 2031 00:00:00 +99999999999999", None),
        ("0", 0),
        (" 120 ", 120),
        ("9" * 40, 86_400),
        ("Sat, 03 May 2031 12:02:00 GMT", 120),
        ("Sat, 03 May 2031 11:00:00 GMT", None),
        ("Sat, 03 May 2031 12:02:00", 120),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: int | None) -> None:
    assert parse_retry_after(text, NOW) == (None if seconds is None else timedelta(seconds=seconds))
