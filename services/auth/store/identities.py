"""The table of identities: which account somebody at a provider has."""

from datetime import datetime
from typing import Final
from uuid import UUID

from shared.postgres import Connection

FIND_IDENTITY: Final = "SELECT account_id FROM auth.identities WHERE provider = $1 AND subject = $2"


async def find_identity(connection: Connection, provider: str, subject: str) -> UUID | None:
    """The account of somebody at a provider, if there is one."""
    found: UUID | None = await connection.fetchval(FIND_IDENTITY, provider, subject)
    return found


INSERT_IDENTITY: Final = """
INSERT INTO auth.identities (provider, subject, account_id, linked_at) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
RETURNING true
"""


async def insert_identity(
    connection: Connection, *, provider: str, subject: str, account_id: UUID, linked_at: datetime
) -> bool:
    """Link an account; False when this identity has one already, also one being linked right now."""
    return bool(await connection.fetchval(INSERT_IDENTITY, provider, subject, account_id, linked_at))
