"""Events that are committed with the change they tell of, and brought to the event log after it.

The table belongs to the service that changes something. Its migration creates it, in that schema:

    CREATE TABLE auth.outbox (
        event_id uuid PRIMARY KEY,
        topic text NOT NULL,
        event_key bytea NOT NULL,
        value bytea NOT NULL,
        created_at timestamptz NOT NULL
    );

An event may be brought there twice, and after later ones: whoever reads it can tell a repeat, and an old one.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from shared.clock import Clock
from shared.errors import LLMRingError
from shared.event_log.port import EventLog, Record
from shared.postgres import Connection, Database
from shared.stopping import is_set_within
from shared.telemetry.metrics import OUTBOX_SECONDS

RELAY_PAUSE: Final = timedelta(seconds=0.5)
_RELAY_BATCH: Final = 500

_log = logging.getLogger(__name__)


class OutboxEvent(NamedTuple):
    """One event, committed with the change it tells of."""

    event_id: UUID
    topic: str
    event_key: bytes
    value: bytes
    created_at: datetime


INSERT_EVENT: Final = """
INSERT INTO {schema}.outbox (event_id, topic, event_key, value, created_at) VALUES ($1, $2, $3, $4, $5)
"""


async def insert_event(connection: Connection, schema: str, event: OutboxEvent) -> None:
    """Add an event, in the transaction of the change it tells of."""
    await connection.execute(INSERT_EVENT.format(schema=schema), *event)


LIST_EVENTS: Final = """
SELECT event_id, topic, event_key, value, created_at FROM {schema}.outbox
WHERE created_at <= $1 ORDER BY event_id LIMIT $2
"""
DELETE_EVENTS: Final = "DELETE FROM {schema}.outbox WHERE event_id = ANY($1)"


class Outbox:
    """Brings the events of one schema, all of one topic, to the event log.

    Args:
        database: has the table.
        event_log: takes the events.
        clock: tells how old they are.
        schema: of the table.
        topic: of the events.
        after: how old an event is when the relay takes it: the request that wrote it may still be trying.
    """

    def __init__(
        self,
        database: Database,
        event_log: EventLog,
        clock: Clock,
        *,
        schema: str,
        topic: str,
        after: timedelta = timedelta(),
    ) -> None:
        self._database = database
        self._event_log = event_log
        self._clock = clock
        self._topic = topic
        self._after = after
        self._list_events = LIST_EVENTS.format(schema=schema)
        self._delete_events = DELETE_EVENTS.format(schema=schema)
        self._oldest_age = OUTBOX_SECONDS.labels(topic)

    async def move(self, events: Sequence[OutboxEvent]) -> None:
        """Append committed events, and take them out of the table.

        Raises:
            UnavailableError: the event log or the database is away.
            NotFoundError: the topic is not there yet.
        """
        await self._event_log.append(self._topic, [Record(each.event_key, each.value) for each in events])
        async with self._database.connection() as connection:
            await connection.execute(self._delete_events, [each.event_id for each in events])

    async def publish_left_over(self) -> int:
        """Publish what requests have left behind, oldest first; tells how many events that were.

        Raises:
            UnavailableError: the event log or the database is away.
            NotFoundError: the topic is not there yet.
        """
        async with self._database.connection() as connection:
            now = self._clock.now()
            rows = await connection.fetch(self._list_events, now - self._after, _RELAY_BATCH)
        events = [OutboxEvent(*row) for row in rows]
        self._oldest_age.set((now - events[0].created_at).total_seconds() if events else 0)
        if events:
            await self.move(events)
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
                    _log.warning("%s cannot be published at the moment: %s", self._topic, error)
                reported = True
            await is_set_within(stop, RELAY_PAUSE.total_seconds())
