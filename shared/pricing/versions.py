"""Names of registry versions, their order, and which of them is in force at an instant."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Generic, NamedTuple, Protocol, TypeVar

_NAME = re.compile(r"(\d{4})\.(\d{2})\.(\d{2})(?:\.([1-9]\d{0,5}))?", re.ASCII)


class VersionKey(NamedTuple):
    """What a version's name says: its day, and that it is the day's n-th. Keys sort as the versions do."""

    day: date
    ordinal: int

    def name(self) -> str:
        """`2026.05.03` for the first version of a day, `2026.05.03.2` for the second."""
        day = self.day.strftime("%Y.%m.%d").zfill(10)
        return day if self.ordinal == 1 else f"{day}.{self.ordinal}"


def parse_version(name: str) -> VersionKey:
    """Read a version's name.

    Raises:
        ValueError: it is not `YYYY.MM.DD` or `YYYY.MM.DD.n` with n from 2, or there is no such day.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[4] == "1":
        raise ValueError("must be YYYY.MM.DD, or YYYY.MM.DD.n for the n-th version of a day")
    try:
        day = date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        raise ValueError("is not a day of the calendar") from None
    return VersionKey(day, int(match[4] or 1))


def next_version(newest: VersionKey | None, today: date) -> VersionKey:
    """The key of the version after the newest one. It sorts after it even when the clock went back."""
    if newest is None or newest.day < today:
        return VersionKey(today, 1)
    return VersionKey(newest.day, newest.ordinal + 1)


class Dated(Protocol):
    """Anything that says which version it is and from when its prices hold."""

    @property
    def version(self) -> str:
        """The version's name."""
        ...

    @property
    def effective_from(self) -> datetime:
        """The instant from which its prices hold."""
        ...


D = TypeVar("D", bound=Dated)


class Timeline(Generic[D]):
    """Answers which version is in force at an instant.

    It is the newest version (by name, so by order of publishing) with `effective_from <= at`: a version
    published with an earlier `effective_from` corrects everything from that instant on. Before all of them it
    is the one that came into force first.
    """

    def __init__(self, versions: Iterable[D]) -> None:
        self._starts: list[datetime] = []
        self._versions: list[D] = []
        newest: VersionKey | None = None
        dated = [(version.effective_from, parse_version(version.version), version) for version in versions]
        for effective_from, key, version in sorted(dated, key=lambda entry: entry[:2]):
            if newest is not None and key < newest:
                continue  # a version published later holds from before this one's start
            newest = key
            if self._starts and self._starts[-1] == effective_from:
                self._versions[-1] = version
            else:
                self._starts.append(effective_from)
                self._versions.append(version)

    def find_in_force(self, at: datetime) -> D | None:
        """The version whose prices hold at an instant; None only where there is no version at all."""
        if not self._versions:
            return None
        return self._versions[max(bisect_right(self._starts, at) - 1, 0)]

    def list_from(self, at: datetime) -> Sequence[D]:
        """The version whose prices hold at an instant, and those that come into force after it, in order."""
        return self._versions[max(bisect_right(self._starts, at) - 1, 0) :]

    @property
    def newest(self) -> VersionKey | None:
        """The version that was published last; None where there is none. It may not be in force yet."""
        return max((parse_version(version.version) for version in self._versions), default=None)
