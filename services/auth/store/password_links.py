"""The table of links by which passwords are set: the newest one of each account, by its token's SHA-256."""

from datetime import datetime
from typing import Final
from uuid import UUID

from shared.postgres import Connection

REPLACE_LINK: Final = """
INSERT INTO auth.password_links (account_id, token_sha256, expires_at) VALUES ($1, $2, $3)
ON CONFLICT (account_id) DO UPDATE SET token_sha256 = EXCLUDED.token_sha256, expires_at = EXCLUDED.expires_at
"""


async def replace_link(
    connection: Connection, account_id: UUID, *, token_sha256: bytes, expires_at: datetime
) -> None:
    """Give an account a new link; the one before opens nothing any more."""
    await connection.execute(REPLACE_LINK, account_id, token_sha256, expires_at)


async def is_live_link(connection: Connection, token_sha256: bytes, at: datetime) -> bool:
    """Whether a link opens anything. It may have been taken by the time it is."""
    return bool(
        await connection.fetchval(
            "SELECT true FROM auth.password_links WHERE token_sha256 = $1 AND expires_at > $2",
            token_sha256,
            at,
        )
    )


TAKE_LINK: Final = """
DELETE FROM auth.password_links WHERE token_sha256 = $1 AND expires_at > $2 RETURNING account_id
"""


async def take_link(connection: Connection, token_sha256: bytes, at: datetime) -> UUID | None:
    """Use a link up: of all who try, one is told whose it is, if their transaction is committed."""
    found: UUID | None = await connection.fetchval(TAKE_LINK, token_sha256, at)
    return found
