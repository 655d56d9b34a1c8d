"""Time as an argument, so that tests can hold it still."""

from datetime import UTC, datetime
from typing import Protocol


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
    """Write an instant as RFC 3339 in UTC with `Z`: `2026-05-03T12:00:00Z`, microseconds only where needed."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
