"""Tell the gateways that what they remember of an account's keys is out of date, and others who is suspended.

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

from shared.clock import Clock
from shared.contracts.keys import KeysChanged
from shared.contracts.topics import KEYS_CHANGED
from shared.errors import LLMRingError
from shared.event_log.outbox import Outbox, OutboxEvent, insert_event
from shared.event_log.port import EventLog
from shared.ids import uuid7
from shared.postgres import Connection, Database

PUBLISH_WAIT: Final = timedelta(seconds=2)
"""How long an answer waits for the event log."""

RELAY_AFTER: Final = timedelta(seconds=1)
"""How old an event is when the relay takes it. Its own request may still be trying; both may succeed."""

_SCHEMA: Final = "auth"

_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


async def note_change(
    connection: Connection,
    account_id: UUID,
    at: datetime,
    key_ids: Sequence[UUID] = (),
    *,
    suspended: bool | None = None,
    void_before: datetime | None = None,
) -> OutboxEvent:
    """Write the event of a change into the outbox, in the transaction of the change.

    Args:
        connection: in the transaction.
        account_id: whose keys.
        at: the instant of the change.
        key_ids: which keys; none means all of them.
        suspended: whether the account is now; None where that has not changed.
        void_before: until when whoever had the account had no right to it; None where he had.
    """
    value = _encoder.encode(
        KeysChanged(
            account_id=account_id,
            key_ids=tuple(key_ids),
            changed_at=at,
            suspended=suspended,
            void_before=void_before,
        )
    )
    event = OutboxEvent(uuid7(), KEYS_CHANGED, account_id.bytes, value, at)
    await insert_event(connection, _SCHEMA, event)
    return event


class KeyChanges:
    """Brings the outbox's events to the event log."""

    def __init__(self, database: Database, event_log: EventLog, clock: Clock) -> None:
        self._outbox = Outbox(
            database, event_log, clock, schema=_SCHEMA, topic=KEYS_CHANGED, after=RELAY_AFTER
        )
        self.publish_left_over = self._outbox.publish_left_over
        self.run_relay = self._outbox.run_relay

    async def publish(self, *events: OutboxEvent) -> None:
        """Publish events that are committed, all of one account; what fails here is left to the relay."""
        try:
            async with asyncio.timeout(PUBLISH_WAIT.total_seconds()):
                await self._outbox.move(events)
        except (LLMRingError, TimeoutError) as error:  # nothing of this is the caller's: the change holds
            _log.warning(
                "keys.changed of account %s is left to the relay: %s", events[0].event_key.hex(), error
            )
