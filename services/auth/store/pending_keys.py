"""The table of first keys that wait to be retrieved, sealed."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from shared.postgres import Connection

INSERT_PENDING: Final = """
INSERT INTO auth.pending_keys (session_id, account_id, key_id, sealed, expires_at) VALUES ($1, $2, $3, $4, $5)
"""


async def insert_pending_key(
    connection: Connection,
    *,
    session_id: UUID,
    account_id: UUID,
    key_id: UUID,
    sealed: bytes,
    expires_at: datetime,
) -> None:
    """Let a key wait for a session."""
    await connection.execute(INSERT_PENDING, session_id, account_id, key_id, sealed, expires_at)


class PendingKey(NamedTuple):
    """A key that has just been taken out.

    Attributes:
        is_live: whether it has not been revoked meanwhile.
    """

    key_id: UUID
    sealed: bytes
    expires_at: datetime
    is_live: bool


# Of several that ask at once one locks the row; the others then see it empty.
TAKE_PENDING: Final = """
WITH waiting AS (
    SELECT session_id, sealed FROM auth.pending_keys
    WHERE session_id = $1 AND sealed IS NOT NULL
    FOR UPDATE
)
UPDATE auth.pending_keys p SET sealed = NULL
FROM waiting w, auth.api_keys k
WHERE p.session_id = w.session_id AND k.account_id = p.account_id AND k.key_id = p.key_id
RETURNING p.key_id, w.sealed, p.expires_at, k.revoked_at IS NULL
"""


async def take_pending_key(connection: Connection, session_id: UUID) -> PendingKey | None:
    """Take out the key that waits for a session, and forget it; None when none waits any more."""
    row = await connection.fetchrow(TAKE_PENDING, session_id)
    return None if row is None else PendingKey(*row)


FIND_END: Final = """
SELECT p.expires_at FROM auth.pending_keys p JOIN auth.api_keys k USING (account_id, key_id)
WHERE p.session_id = $1 AND p.sealed IS NOT NULL AND p.expires_at > $2 AND k.revoked_at IS NULL
"""


async def find_end_of_waiting(connection: Connection, session_id: UUID, at: datetime) -> datetime | None:
    """Until when a key waits for a session; None when none does."""
    found: datetime | None = await connection.fetchval(FIND_END, session_id, at)
    return found


async def had_pending_key(connection: Connection, session_id: UUID) -> bool:
    """Whether a key ever waited for a session."""
    found = await connection.fetchval("SELECT true FROM auth.pending_keys WHERE session_id = $1", session_id)
    return bool(found)


async def forget_pending_keys_that_are_over(connection: Connection, at: datetime) -> None:
    """Forget keys that nobody may retrieve any more."""
    await connection.execute(
        "UPDATE auth.pending_keys SET sealed = NULL WHERE sealed IS NOT NULL AND expires_at <= $1", at
    )
