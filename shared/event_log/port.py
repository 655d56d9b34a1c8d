"""The event log: topics of ordered records, and what every implementation of it promises.

A topic has a fixed number of partitions. Records with the same key go to the same partition and keep their
order. Every record has an offset in its partition; offsets become visible in order, so that a reader who has
seen 101 will never find a 100 later. An append is durable when it returns.

A record may be delivered more than once, and one append that failed with `UnavailableError` may have been
stored all the same: what consumes it must be safe to repeat. `PostgresPositions` is the fence for that.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Final, NamedTuple, Protocol, TypeAlias

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
"""Names and values in order; a name may occur more than once. `traceparent` (W3C) travels here."""

MAX_RECORD_BYTES: Final = 1_000_000
"""The most that key, value and headers of one record may have together, the same for every implementation:
a Kafka broker takes batches of 1 MiB by default, and the batch's own frame must fit in as well."""


class FencedError(Exception):
    """Another member of the group has applied this range of offsets already; nothing was applied now."""


class PositionLostError(Exception):
    """A group's stored position lies beyond the end of its topic: the log was lost or replaced.

    To go on would either skip records or apply others twice, so the consumer stands still until a person
    has decided.
    """


class StalledError(Exception):
    """A subscription has read nothing for long although there is something to read: open it anew."""


class Record(NamedTuple):
    """A record to be appended."""

    key: bytes
    value: bytes
    headers: Headers = ()


class Position(NamedTuple):
    """Where a record is, within its topic."""

    partition: int
    offset: int


class StoredRecord(NamedTuple):
    """A record as it is read back. A foreign producer may have left the value out (None)."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes | None
    headers: Headers
    appended_at: datetime


class Slice(NamedTuple):
    """Consecutive records of one partition, in order, never empty: what a consumer applies at once.

    Attributes:
        topic: the topic's name.
        partition: the partition that all the records are from.
        records: in the order of their offsets.
        expected: the group's position before this slice, to be handed to `PostgresPositions.advance`.
    """

    topic: str
    partition: int
    records: tuple[StoredRecord, ...]
    expected: int

    @property
    def next_offset(self) -> int:
        """The group's position once this slice is applied."""
        return self.records[-1].offset + 1


class TopicState(NamedTuple):
    """How a topic is kept. What the log knows nothing of, or keeps nothing of, is None.

    Attributes:
        partitions: how many there are.
        copies: of the partition that has the fewest.
        in_sync: copies that are up to date, of the partition that has the fewest.
        must_be_in_sync: below so many nothing is accepted.
        retention: how old a record may become; None also where that is not limited.
    """

    partitions: int
    copies: int | None = None
    in_sync: int | None = None
    must_be_in_sync: int | None = None
    retention: timedelta | None = None


class Positions(Protocol):
    """Where each group stands; kept with the group's results, not with the log."""

    async def load(self, group: str, topic: str, partitions: Collection[int]) -> dict[int, int]:
        """The next offset to apply, per partition; one that is missing starts at the earliest record."""
        ...


class Subscription(Protocol):
    """One member's share of a group's partitions. Not for use by several tasks at once."""

    async def read(self, *, max_records: int, max_wait: timedelta) -> list[Slice]:
        """What comes next, at most one slice per partition and `max_records` in all.

        Returns as soon as there is something, and with nothing once `max_wait` is over. What was handed out
        is not handed out again, unless `rewind` is called or the partition moves to another member.

        Raises:
            UnavailableError: the log or the positions cannot be read now; call again later.
            PositionLostError: see there.
            StalledError: see there.
        """
        ...

    def note_applied(self, applied: Slice) -> None:
        """Say that a slice is applied: for the monitoring of lag only, never waits and never fails."""
        ...

    def rewind(self, partition: int) -> None:
        """Let the next `read` load the stored position again: after a failure, or when fenced."""
        ...


class EventLog(Protocol):
    """A durable log of records."""

    async def ensure_topics(self, topics: Mapping[str, int]) -> None:
        """Create the topics (name -> partitions) that are missing.

        A topic that exists keeps its number of partitions: with another number a key would move, and its
        order would be lost. A difference is logged.

        Raises:
            UnavailableError: the log is away.
        """
        ...

    async def append(self, topic: str, records: Sequence[Record]) -> list[Position]:
        """Store the records, in order per key; they are durable on return.

        Concurrent appends share round trips. A caller that is cancelled disturbs nobody else; its records
        may be stored or not.

        Returns:
            Where each of them went, in the order given.

        Raises:
            UnavailableError: not confirmed within the time that this log was opened with.
            TooLargeError: a record has more than `MAX_RECORD_BYTES`; none was stored.
            NotFoundError: there is no such topic.
        """
        ...

    def subscribe(
        self, group: str, topic: str, positions: Positions
    ) -> AbstractAsyncContextManager[Subscription]:
        """Join a group that shares the topic's partitions among its members, in this and other processes."""
        ...

    def tail(self, topic: str) -> AbstractAsyncContextManager[AsyncIterator[StoredRecord]]:
        """Every record appended from now on, of all partitions, for each caller of its own.

        Now is when the block is entered. It does not end, and outlives an outage without a gap.
        """
        ...

    def read_range(
        self, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> AbstractAsyncContextManager[AsyncIterator[Slice]]:
        """What some partitions hold from `starts` up to, and not including, `ends`; outside any group.

        The slices of a partition come in order, those of different ones in any; a few are in memory at a
        time. Where the log has let go of the first records, it begins at the earliest and says so in a
        warning. A short outage is waited for.

        Args:
            topic: the topic's name.
            starts: partition -> the first offset wanted. A slice's `expected` is this, then the end of the
                slice before.
            ends: partition -> the first offset not wanted; beyond the end of the topic there is nothing.

        Raises:
            UnavailableError: the log is away for longer, while it is being read.
            NotFoundError: there is no such topic.
        """
        ...

    async def begins(self, topic: str) -> dict[int, int]:
        """The offset of the earliest record of each partition; where there is none, the next one's.

        Raises:
            UnavailableError: the log is away.
            NotFoundError: there is no such topic.
        """
        ...

    async def ends(self, topic: str) -> dict[int, int]:
        """The offset that the next record of each partition will get.

        Raises:
            UnavailableError: the log is away.
            NotFoundError: there is no such topic.
        """
        ...

    async def describe(self, topic: str) -> TopicState:
        """How a topic is kept.

        Raises:
            UnavailableError: the log is away.
            NotFoundError: there is no such topic.
        """
        ...

    async def ping(self) -> None:
        """Ask for a sign of life.

        Raises:
            UnavailableError: there is none.
        """
        ...

    async def close(self) -> None:
        """Store what was accepted, then let go of every connection."""
        ...
