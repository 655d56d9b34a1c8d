"""Reading what became of deliveries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from services.webhooks.store.deliveries import Attempt
from shared.postgres import Connection


class Place(NamedTuple):
    """A place in the log, which goes from the newest delivery to the oldest."""

    created_at: datetime
    message_id: UUID


class Delivery(NamedTuple):
    """A message on its way to an endpoint, or at the end of it."""

    message_id: UUID
    type: str
    status: str
    created_at: datetime
    next_attempt_at: datetime | None


LIST_DELIVERIES: Final = """
SELECT d.message_id, m.type, d.status, d.created_at, d.next_attempt_at
  FROM webhooks.deliveries d JOIN webhooks.messages m USING (message_id)
 WHERE d.account_id = $1 AND d.endpoint_id = $2
   AND ($3::text IS NULL OR d.status = $3)
   AND ($4::timestamptz IS NULL OR (d.created_at, d.message_id) < ($4, $5))
 ORDER BY d.created_at DESC, d.message_id DESC LIMIT $6
"""


async def list_deliveries(
    connection: Connection,
    account_id: UUID,
    endpoint_id: UUID,
    *,
    status: str | None,
    before: Place | None,
    limit: int,
) -> list[Delivery]:
    """Deliveries to an endpoint, newest first."""
    created_at, message_id = before or (None, None)
    rows = await connection.fetch(
        LIST_DELIVERIES, account_id, endpoint_id, status, created_at, message_id, limit
    )
    return [Delivery(*row) for row in rows]


LIST_ATTEMPTS: Final = """
SELECT message_id, attempted_at, duration_ms, http_status, error, response FROM webhooks.attempts
 WHERE account_id = $1 AND endpoint_id = $2 AND message_id = ANY ($3::uuid[]) ORDER BY message_id, attempt
"""


async def list_attempts(
    connection: Connection, account_id: UUID, endpoint_id: UUID, message_ids: Sequence[UUID]
) -> dict[UUID, list[Attempt]]:
    """The attempts of some deliveries, oldest first."""
    found: dict[UUID, list[Attempt]] = {message_id: [] for message_id in message_ids}
    for row in await connection.fetch(LIST_ATTEMPTS, account_id, endpoint_id, list(message_ids)):
        message_id, *attempt = row
        found[message_id].append(Attempt(*attempt))
    return found


FIND_MESSAGE_TYPE: Final = """
SELECT m.type FROM webhooks.deliveries d JOIN webhooks.messages m USING (message_id)
 WHERE d.account_id = $1 AND d.endpoint_id = $2 AND d.message_id = $3
"""


async def find_message_type(
    connection: Connection, account_id: UUID, endpoint_id: UUID, message_id: UUID
) -> str | None:
    """The type of a message that went, or is on its way, to an endpoint; None where none such does."""
    event: str | None = await connection.fetchval(FIND_MESSAGE_TYPE, account_id, endpoint_id, message_id)
    return event
