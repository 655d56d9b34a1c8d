"""Time as an argument, so that tests can hold it still."""

import re
from datetime import UTC, datetime
from typing import Protocol

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


class Clock(Protocol):
    """Tells the present instant, aware and in UTC."""

    def now(self) -> datetime:
        """The present instant, UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The present instant, UTC."""
        return datetime.now(UTC)


class FixedClock:
    """A clock for tests: it stands still until it is told to move."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        """The instant it was last set to."""
        return self.at


def rfc3339(at: datetime) -> str:
    """Write an instant as RFC 3339, UTC, `Z`: `2026-05-03T12:00:00Z`, microseconds only where needed."""
    if at.tzinfo is not UTC:  # the same instant in UTC is what nearly everybody brings, and to ask is cheaper
        at = at.astimezone(UTC)
    return at.isoformat()[: -len("+00:00")] + "Z"


def parse_rfc3339(text: str) -> datetime:
    """Read an RFC 3339 instant into UTC. Digits beyond the microsecond are cut, not rounded up to a new day.

    Raises:
        ValueError: not RFC 3339, no such date or time, no zone, or outside the years 1 to 9999 in UTC.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("must be an RFC 3339 time with a zone, such as 2026-05-03T12:00:00Z")
    day, time, fraction, zone = match.groups()
    try:
        if zone == "Z" and fraction is None:
            return datetime.fromisoformat(text)  # it says UTC, which is what nearly everybody sends
        at = datetime.fromisoformat(f"{day}T{time}.{(fraction or '0'):0<6}{zone.upper()}")
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a possible date and time") from None
