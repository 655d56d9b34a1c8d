"""Messages, and the deliveries that come of them."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from shared.postgres import Connection


class Message(NamedTuple):
    """What is told, byte for byte.

    Attributes:
        happened_at: endpoints that were made later are not told.
        account_id: whose endpoints are told; None is everybody's.
    """

    message_id: UUID
    type: str
    body: bytes
    happened_at: datetime
    account_id: UUID | None = None


# One statement may not add a row and refer to it through a constraint of another one unless both see it: the
# message goes first. One without a delivery is not stored: nobody could ever ask for it.
INSERT_MESSAGE: Final = """
INSERT INTO webhooks.messages (message_id, type, body, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (message_id) DO NOTHING
"""
INSERT_DELIVERIES: Final = """
INSERT INTO webhooks.deliveries (account_id, endpoint_id, message_id, status, next_attempt_at, created_at)
SELECT account_id, endpoint_id, $1, 'pending', $2, $2 FROM webhooks.endpoints
 WHERE status = 'enabled' AND $3 = ANY (events) AND created_at <= $4
   AND ($5::uuid IS NULL OR account_id = $5)
ON CONFLICT DO NOTHING
"""


async def insert_message(connection: Connection, message: Message, *, at: datetime) -> int:
    """Have a message delivered to every endpoint that wants it, and say to how many.

    A message of the same id goes to nobody twice. Ask `has_subscribers` first.
    """
    await connection.execute(INSERT_MESSAGE, message.message_id, message.type, message.body, at)
    done = await connection.execute(
        INSERT_DELIVERIES, message.message_id, at, message.type, message.happened_at, message.account_id
    )
    return int(done.rpartition(" ")[2])


INSERT_DELIVERY: Final = """
INSERT INTO webhooks.deliveries (account_id, endpoint_id, message_id, status, next_attempt_at, created_at)
VALUES ($1, $2, $3, 'pending', $4, $4)
"""


async def insert_message_to(
    connection: Connection, message: Message, account_id: UUID, endpoint_id: UUID, *, at: datetime
) -> None:
    """Have a message delivered to one endpoint, whatever it wants."""
    await connection.execute(INSERT_MESSAGE, message.message_id, message.type, message.body, at)
    await connection.execute(INSERT_DELIVERY, account_id, endpoint_id, message.message_id, at)


# A delivery that somebody holds is left for the next time. Attempts go with their delivery.
DELETE_OLD_DELIVERIES: Final = """
DELETE FROM webhooks.deliveries WHERE (account_id, endpoint_id, message_id) IN (
    SELECT account_id, endpoint_id, message_id FROM webhooks.deliveries
     WHERE status <> 'pending' AND created_at < $1 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
"""
DELETE_OLD_MESSAGES: Final = """
DELETE FROM webhooks.messages WHERE message_id IN (
    SELECT message_id FROM webhooks.messages m
     WHERE created_at < $1
       AND NOT EXISTS (SELECT 1 FROM webhooks.deliveries d WHERE d.message_id = m.message_id)
     ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
"""


async def delete_old(connection: Connection, before: datetime, limit: int) -> int:
    """Delete deliveries that are older and over, and messages that have none any more; say how many rows."""
    deliveries = await connection.execute(DELETE_OLD_DELIVERIES, before, limit)
    messages = await connection.execute(DELETE_OLD_MESSAGES, before, limit)
    return sum(int(done.rpartition(" ")[2]) for done in (deliveries, messages))
