"""Tell the gateways that what they remember of an account's keys is out of date.

The event is written in the transaction of the change (`note_change`), so that neither is without the other,
and goes to the event log before the caller is answered (`KeyChanges.publish`). When the log is away, the
caller is answered all the same, since the change holds: a gateway asks again as soon as its short memory of
the key ends, and the relay publishes the event once the log is back. A 503 would say that nothing was
recorded, and that would be untrue. An event may be published twice; it says "forget", so twice does no harm.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from services.auth.store.outbox import OutboxEvent, delete_events, insert_event, list_events
from shared.clock import Clock
from shared.contracts.keys import KeysChanged
from shared.contracts.topics import KEYS_CHANGED
from shared.errors import LLMRingError
from shared.event_log.port import EventLog, Record
from shared.ids import uuid7
from shared.postgres import Connection, Database
from shared.stopping import is_set_within
from shared.telemetry.metrics import OUTBOX_SECONDS

PUBLISH_WAIT: Final = timedelta(seconds=2)
"""How long an answer waits for the event log."""

RELAY_AFTER: Final = timedelta(seconds=1)
"""How old an event is when the relay takes it. Its own request may still be trying; both may succeed."""

RELAY_PAUSE: Final = timedelta(seconds=0.5)
_RELAY_BATCH: Final = 500

_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()
_oldest_age: Final = OUTBOX_SECONDS.labels(KEYS_CHANGED)


async def note_change(
    connection: Connection, account_id: UUID, at: datetime, key_ids: Sequence[UUID] = ()
) -> OutboxEvent:
    """Write the event of a change into the outbox, in the transaction of the change.

    Args:
        connection: in the transaction.
        account_id: whose keys.
        at: the instant of the change.
        key_ids: which keys; none means all of them.
    """
    value = _encoder.encode(KeysChanged(account_id=account_id, key_ids=tuple(key_ids), changed_at=at))
    event = OutboxEvent(uuid7(), KEYS_CHANGED, account_id.bytes, value, at)
    await insert_event(connection, event)
    return event


class KeyChanges:
    """Brings the outbox's events to the event log."""

    def __init__(self, database: Database, event_log: EventLog, clock: Clock) -> None:
        self._database = database
        self._event_log = event_log
        self._clock = clock

    async def publish(self, *events: OutboxEvent) -> None:
        """Publish events that are committed, all of one account; what fails here is left to the relay."""
        try:
            async with asyncio.timeout(PUBLISH_WAIT.total_seconds()):
                await self._move(events)
        except (LLMRingError, TimeoutError) as error:  # nothing of this is the caller's: the change holds
            _log.warning(
                "keys.changed of account %s is left to the relay: %s", events[0].event_key.hex(), error
            )

    async def publish_left_over(self) -> int:
        """Publish what requests have left behind, oldest first; tells how many events that were.

        Raises:
            UnavailableError: the event log or the database is away.
            NotFoundError: the topic is not there yet.
        """
        async with self._database.connection() as connection:
            now = self._clock.now()
            events = await list_events(connection, before=now - RELAY_AFTER, limit=_RELAY_BATCH)
        _oldest_age.set((now - events[0].created_at).total_seconds() if events else 0)
        if events:
            await self._move(events)
        return len(events)

    async def run_relay(self, stop: asyncio.Event) -> None:
        """Publish what is left over, again and again, until `stop` is set."""
        reported = False
        while not stop.is_set():
            try:
                while await self.publish_left_over():
                    pass
                reported = False
            except LLMRingError as error:
                if not reported:
                    _log.warning("keys.changed cannot be published at the moment: %s", error)
                reported = True
            await is_set_within(stop, RELAY_PAUSE.total_seconds())

    async def _move(self, events: Sequence[OutboxEvent]) -> None:
        for topic in {event.topic for event in events}:
            records = [Record(event.event_key, event.value) for event in events if event.topic == topic]
            await self._event_log.append(topic, records)
        async with self._database.connection() as connection:
            await delete_events(connection, [event.event_id for event in events])
