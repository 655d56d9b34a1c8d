"""The public halves of the signing keys."""

from datetime import datetime
from typing import Any, Final, NamedTuple

from shared.contracts.receipts import KeyStatus
from shared.postgres import Connection, Row


class KeyRow(NamedTuple):
    """One row of `signing_keys`; see the comments in the migration."""

    key_id: str
    public_key: bytes
    status: KeyStatus
    not_before: datetime
    not_after: datetime | None
    revoked_at: datetime | None


LOCK_KEYS: Final = "LOCK TABLE receipts.signing_keys IN SHARE ROW EXCLUSIVE MODE"


async def lock_keys(connection: Connection) -> None:
    """Let nobody else add or change a key until the transaction ends; readers go on."""
    await connection.execute(LOCK_KEYS)


LIST_KEYS: Final = """
SELECT key_id, public_key, status, not_before, not_after, revoked_at
FROM receipts.signing_keys ORDER BY not_before, key_id
"""


async def list_keys(connection: Connection) -> list[KeyRow]:
    """Every key that ever was, oldest first."""
    return [_key(row) for row in await connection.fetch(LIST_KEYS)]


INSERT_KEY: Final = """
INSERT INTO receipts.signing_keys (key_id, public_key, status, not_before) VALUES ($1, $2, 'current', $3)
"""


async def insert_key(connection: Connection, key_id: str, public_key: bytes, not_before: datetime) -> None:
    """Add the new current key; there must be no other current one."""
    await connection.execute(INSERT_KEY, key_id, public_key, not_before)


RETIRE_CURRENT_KEY: Final = """
UPDATE receipts.signing_keys SET status = 'retired', not_after = $1 WHERE status = 'current'
"""


async def retire_current_key(connection: Connection, not_after: datetime) -> None:
    """Make the current key, if there is one, a retired one that may sign until `not_after`."""
    await connection.execute(RETIRE_CURRENT_KEY, not_after)


MAY_SIGN: Final = """
SELECT status <> 'revoked' AND (not_after IS NULL OR not_after >= $2)
FROM receipts.signing_keys WHERE key_id = $1
"""


async def may_sign(connection: Connection, key_id: str, at: datetime) -> bool:
    """Whether a receipt issued at this instant may carry this key's signature."""
    return bool(await connection.fetchval(MAY_SIGN, key_id, at))


def _key(row: Row) -> KeyRow:
    columns: Any = row.values()
    return KeyRow(*columns)
