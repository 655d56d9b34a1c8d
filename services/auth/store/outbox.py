"""The table of events that are not known to be in the event log yet."""

from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from shared.postgres import Connection


class OutboxEvent(NamedTuple):
    """One event, committed with the change it tells of."""

    event_id: UUID
    topic: str
    event_key: bytes
    value: bytes
    created_at: datetime


INSERT_EVENT: Final = """
INSERT INTO auth.outbox (event_id, topic, event_key, value, created_at) VALUES ($1, $2, $3, $4, $5)
"""


async def insert_event(connection: Connection, event: OutboxEvent) -> None:
    """Add an event, in the transaction of the change it tells of."""
    await connection.execute(INSERT_EVENT, *event)


LIST_EVENTS: Final = """
SELECT event_id, topic, event_key, value, created_at FROM auth.outbox
WHERE created_at < $1 ORDER BY event_id LIMIT $2
"""


async def list_events(connection: Connection, *, before: datetime, limit: int) -> list[OutboxEvent]:
    """Events that were written before an instant, oldest first."""
    return [
        OutboxEvent(row["event_id"], row["topic"], row["event_key"], row["value"], row["created_at"])
        for row in await connection.fetch(LIST_EVENTS, before, limit)
    ]


DELETE_EVENTS: Final = "DELETE FROM auth.outbox WHERE event_id = ANY($1)"


async def delete_events(connection: Connection, event_ids: Collection[UUID]) -> None:
    """Take out events that are in the event log."""
    await connection.execute(DELETE_EVENTS, list(event_ids))
