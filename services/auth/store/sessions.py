"""The table of sessions. Tokens are never here, only their SHA-256."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from services.auth.store.accounts import own_limits_of
from services.auth.tiers import OwnLimits, TierName
from shared.postgres import Connection

INSERT_SESSION: Final = """
INSERT INTO auth.sessions (session_id, account_id, token_sha256, created_at, used_at, expires_at)
VALUES ($1, $2, $3, $4, $4, $5)
"""


async def insert_session(
    connection: Connection,
    *,
    session_id: UUID,
    account_id: UUID,
    token_sha256: bytes,
    created_at: datetime,
    expires_at: datetime,
) -> None:
    """Add a session, used just now."""
    await connection.execute(INSERT_SESSION, session_id, account_id, token_sha256, created_at, expires_at)


class LiveSession(NamedTuple):
    """A session that opens something, with what its account allows."""

    account_id: UUID
    session_id: UUID
    used_at: datetime
    expires_at: datetime
    tier: TierName
    own_limits: OwnLimits


FIND_LIVE_SESSION: Final = """
SELECT s.account_id, s.session_id, s.used_at, s.expires_at, a.tier,
       a.has_own_requests_per_minute, a.own_requests_per_minute,
       a.has_own_logs_per_month, a.own_logs_per_month,
       a.has_own_retention_days, a.own_retention_days
FROM auth.sessions s JOIN auth.accounts a USING (account_id)
WHERE s.token_sha256 = $1 AND s.expires_at > $2 AND s.used_at > $3 AND a.suspended_at IS NULL
"""


async def find_live_session(
    connection: Connection, token_sha256: bytes, *, at: datetime, used_after: datetime
) -> LiveSession | None:
    """The session of this hash, unless it has ended, has not been used since, or its account is suspended."""
    row = await connection.fetchrow(FIND_LIVE_SESSION, token_sha256, at, used_after)
    if row is None:
        return None
    return LiveSession(
        account_id=row["account_id"],
        session_id=row["session_id"],
        used_at=row["used_at"],
        expires_at=row["expires_at"],
        tier=row["tier"],
        own_limits=own_limits_of(row),
    )


HOLD_LIVE_SESSION: Final = """
SELECT true FROM auth.sessions s JOIN auth.accounts a USING (account_id)
WHERE s.account_id = $1 AND s.session_id = $2 AND s.expires_at > $3 AND a.suspended_at IS NULL
FOR NO KEY UPDATE OF s
"""


async def hold_live_session(connection: Connection, account_id: UUID, session_id: UUID, at: datetime) -> bool:
    """Whether a session lives, and so until the transaction ends.

    For how long it was not used does not matter: what it asks for now is its use.
    """
    return bool(await connection.fetchval(HOLD_LIVE_SESSION, account_id, session_id, at))


async def get_session_end(connection: Connection, session_id: UUID) -> datetime | None:
    """The end of a session however much it is used; None when it has ended."""
    found: datetime | None = await connection.fetchval(
        "SELECT expires_at FROM auth.sessions WHERE session_id = $1", session_id
    )
    return found


async def mark_session_used(connection: Connection, session_id: UUID, at: datetime) -> None:
    """Remember that a session was used; an earlier instant than the stored one changes nothing."""
    await connection.execute(
        "UPDATE auth.sessions SET used_at = $2 WHERE session_id = $1 AND used_at < $2", session_id, at
    )


async def delete_session(connection: Connection, session_id: UUID) -> bool:
    """End a session; False when it had ended already."""
    return (
        await connection.execute("DELETE FROM auth.sessions WHERE session_id = $1", session_id) != "DELETE 0"
    )


async def delete_sessions(connection: Connection, account_id: UUID) -> int:
    """End all sessions of an account; tells how many those were."""
    tag = await connection.execute("DELETE FROM auth.sessions WHERE account_id = $1", account_id)
    return int(tag.rpartition(" ")[2])


DELETE_OLDER_SESSIONS: Final = """
DELETE FROM auth.sessions WHERE session_id IN (
    SELECT session_id FROM auth.sessions WHERE account_id = $1
    ORDER BY created_at DESC, session_id DESC OFFSET $2
)
RETURNING session_id
"""


async def delete_older_sessions(connection: Connection, account_id: UUID, *, keep: int) -> list[UUID]:
    """End an account's sessions but for the newest ones; tells which. The account is locked."""
    rows = await connection.fetch(DELETE_OLDER_SESSIONS, account_id, keep)
    return [row["session_id"] for row in rows]


DELETE_OVER: Final = "DELETE FROM auth.sessions WHERE expires_at <= $1 OR used_at <= $2"


async def delete_sessions_that_are_over(
    connection: Connection, *, at: datetime, used_before: datetime
) -> None:
    """Take out sessions that open nothing any more."""
    await connection.execute(DELETE_OVER, at, used_before)
