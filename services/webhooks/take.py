"""Turn events into messages and deliveries, in the transaction of the consumer's position.

So an event is applied once, whoever reads it twice; and since a message's id derives from what it tells, one
that was announced twice is told of once.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from services.webhooks.enqueue import enqueue
from services.webhooks.store.messages import Message
from shared.clock import Clock
from shared.event_log.dead_letter import Poison, dead_letter
from shared.event_log.port import EventLog, Slice, StoredRecord
from shared.event_log.positions import PostgresPositions
from shared.postgres import Database

GROUP: Final = "webhooks"

Read = Callable[[StoredRecord], Awaitable[Sequence[Message]]]
"""The messages that an event makes. Raises `ValueError` where it can never be read, `UnavailableError` where
not now."""


class Taker:
    """Takes slices of one topic.

    Args:
        database: of the schema `webhooks`.
        event_log: takes `usage.dead`.
        positions: fences each slice, so that it is applied once whoever delivers it.
        clock: tells what is due from now on.
        read: makes messages of an event.
    """

    def __init__(
        self,
        *,
        database: Database,
        event_log: EventLog,
        positions: PostgresPositions,
        clock: Clock,
        read: Read,
    ) -> None:
        self._database = database
        self._event_log = event_log
        self._positions = positions
        self._clock = clock
        self._read = read

    async def take(self, taken: Slice) -> None:
        """Store the position, the messages and a delivery for each endpoint; set aside what cannot be read.

        Raises:
            FencedError: another member has applied this slice.
            UnavailableError: the database, the event log, or what reading needs is away; nothing was stored.
        """
        messages: list[Message] = []
        poison: list[Poison] = []
        for record in taken.records:
            try:
                messages += await self._read(record)
            except (ValueError, RecursionError) as error:  # msgspec's included
                poison.append(Poison(record, f"{type(error).__name__}: {error}"))
        async with self._database.transaction() as connection:
            await self._positions.advance_past(connection, GROUP, taken)
            await enqueue(connection, messages, at=self._clock.now())
            await dead_letter(self._event_log, poison)
