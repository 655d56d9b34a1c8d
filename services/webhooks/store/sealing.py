"""Which key secrets are sealed with, by a fingerprint that does not give it away."""

from typing import Final

from shared.postgres import Connection

FIND_FINGERPRINT: Final = "SELECT fingerprint FROM webhooks.sealing_key"


async def find_fingerprint(connection: Connection) -> bytes | None:
    """Of the key; None before the first one."""
    fingerprint: bytes | None = await connection.fetchval(FIND_FINGERPRINT)
    return fingerprint


INSERT_FINGERPRINT: Final = """
INSERT INTO webhooks.sealing_key (fingerprint) VALUES ($1) ON CONFLICT DO NOTHING
"""


async def insert_fingerprint(connection: Connection, fingerprint: bytes) -> bytes:
    """Note the key down, unless there is one; tells that of the one which counts."""
    await connection.execute(INSERT_FINGERPRINT, fingerprint)
    return await find_fingerprint(connection) or fingerprint
