"""What is known of accounts, and what ends with them."""

from collections.abc import Collection
from datetime import datetime
from typing import Final
from uuid import UUID

from shared.postgres import Connection

SET_SUSPENDED: Final = """
INSERT INTO webhooks.accounts AS a (account_id, suspended, changed_at) VALUES ($1, $2, $3)
ON CONFLICT (account_id) DO UPDATE SET suspended = excluded.suspended, changed_at = excluded.changed_at
 WHERE a.changed_at < excluded.changed_at
"""


async def set_suspended(connection: Connection, account_id: UUID, suspended: bool, at: datetime) -> None:
    """Remember whether an account is suspended, unless something later is known."""
    await connection.execute(SET_SUSPENDED, account_id, suspended, at)


LIST_ENDING: Final = """
SELECT endpoint_id FROM webhooks.endpoints
 WHERE account_id = $1 AND (created_at <= $2 OR made_by = ANY ($3::uuid[]))
"""
LIST_MESSAGES: Final = """
SELECT DISTINCT message_id FROM webhooks.deliveries WHERE account_id = $1 AND endpoint_id = ANY ($2::uuid[])
"""
DELETE_ENDPOINTS: Final = """
DELETE FROM webhooks.endpoints WHERE account_id = $1 AND endpoint_id = ANY ($2::uuid[])
"""
DELETE_MESSAGES: Final = """
DELETE FROM webhooks.messages m WHERE message_id = ANY ($1::uuid[])
   AND NOT EXISTS (SELECT FROM webhooks.deliveries d WHERE d.message_id = m.message_id)
"""


async def delete_endpoints(
    connection: Connection, account_id: UUID, until: datetime, made_by: Collection[UUID]
) -> int:
    """Delete an account's endpoints that were made until an instant, or by some keys; tells how many.

    Their secrets, deliveries and attempts go with them, and messages that went to nobody else.
    """
    ending = [row[0] for row in await connection.fetch(LIST_ENDING, account_id, until, list(made_by))]
    if ending:
        messages = [row[0] for row in await connection.fetch(LIST_MESSAGES, account_id, ending)]
        await connection.execute(DELETE_ENDPOINTS, account_id, ending)
        await connection.execute(DELETE_MESSAGES, messages)
    return len(ending)
