"""Take a topic slice by slice: read each event or set it aside, and apply the others with the position."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from shared.event_log.consumer import run_consumer
from shared.event_log.dead_letter import Poison, dead_letter
from shared.event_log.port import EventLog, Slice, StoredRecord
from shared.event_log.positions import PostgresPositions
from shared.postgres import Connection, Database

EVENT_VERSION = 1


class _Versioned(Protocol):
    @property
    def v(self) -> int: ...


T = TypeVar("T")
E = TypeVar("E", bound=_Versioned)

Read = Callable[[StoredRecord], Awaitable[T]]
"""What a record says. Raises `ValueError` where it can never be read, `UnavailableError` where not now."""

Apply = Callable[[Connection, Sequence[T]], Awaitable[None]]
"""Stores what follows from events, in the transaction of the position."""


def read_events(of: type[E]) -> Read[E]:
    """Reads the values of a topic: those of this Struct and of version 1 (docs/events.md, "Versions")."""
    decoder = msgspec.json.Decoder(of)

    async def read(record: StoredRecord) -> E:
        event = decoder.decode(record.value or b"")
        if event.v != EVENT_VERSION:
            raise ValueError(f"version {event.v} is not known")
        return event

    return read


class Taker(Generic[T]):
    """Takes one topic for one group.

    Args:
        database: where the results are.
        event_log: gives the topic, takes `usage.dead`.
        positions: fences each slice, so that it is applied once whoever delivers it.
        group: the consumer group.
        topic: what is read.
        max_records: the most in a slice.
        read: reads a record.
        apply: stores the results.
    """

    def __init__(
        self,
        *,
        database: Database,
        event_log: EventLog,
        positions: PostgresPositions,
        group: str,
        topic: str,
        max_records: int,
        read: Read[T],
        apply: Apply[T],
    ) -> None:
        self._database = database
        self._event_log = event_log
        self._positions = positions
        self._group = group
        self.topic = topic
        self._max_records = max_records
        self._read = read
        self._apply = apply

    async def run(self, stop: asyncio.Event) -> None:
        """Take, until told to stop."""
        await run_consumer(
            self._event_log,
            self._group,
            self.topic,
            self._positions,
            self.take,
            stop=stop,
            max_records=self._max_records,
        )

    async def take(self, taken: Slice) -> None:
        """Store the position and what follows from the events; set aside what cannot be read.

        Raises:
            FencedError: another member has applied this slice.
            UnavailableError: the database, the event log, or what reading needs is away; nothing was stored.
        """
        events: list[T] = []
        poison: list[Poison] = []
        for record in taken.records:
            try:
                events.append(await self._read(record))
            except (ValueError, RecursionError) as error:  # msgspec's included
                poison.append(Poison(record, f"{type(error).__name__}: {error}"))
        async with self._database.transaction() as connection:
            await self._positions.advance_past(connection, self._group, taken)
            await self._apply(connection, events)
            await dead_letter(self._event_log, poison)
