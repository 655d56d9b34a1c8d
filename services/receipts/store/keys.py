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


class Right(NamedTuple):
    """Whether a key is the current one, and whether it may sign at the instant asked about."""

    is_current: bool
    may_sign: bool


FIND_RIGHT: Final = """
SELECT status = 'current', status <> 'revoked' AND (not_after IS NULL OR not_after >= $2)
FROM receipts.signing_keys WHERE key_id = $1
"""


async def find_right(connection: Connection, key_id: str, at: datetime) -> Right:
    """Whether a receipt issued at this instant may carry this key's signature; nothing for an unknown key."""
    row = await connection.fetchrow(FIND_RIGHT, key_id, at)
    return Right(is_current=False, may_sign=False) if row is None else Right(*_columns(row))


REVOKE_KEY: Final = """
UPDATE receipts.signing_keys
SET status = 'revoked', revoked_at = $2, not_after = LEAST(not_after, $2)
WHERE key_id = $1
"""


async def update_revoked(connection: Connection, key_id: str, at: datetime) -> None:
    """Mark a key as one whose signatures count for nothing from that instant on."""
    await connection.execute(REVOKE_KEY, key_id, at)


COUNT_SIGNED: Final = """
SELECT count(*) FILTER (WHERE issued_at < $2), count(*) FILTER (WHERE issued_at >= $2)
FROM receipts.receipts WHERE key_id = $1
"""


class Signed(NamedTuple):
    """How many receipts a key signed before an instant, and from it on."""

    before: int
    since: int


async def count_signed(connection: Connection, key_id: str, at: datetime) -> Signed:
    """Read every receipt: it may take minutes."""
    row = await connection.fetchrow(COUNT_SIGNED, key_id, at)
    return Signed(0, 0) if row is None else Signed(*_columns(row))


def _key(row: Row) -> KeyRow:
    return KeyRow(*_columns(row))


def _columns(row: Row) -> Any:  # noqa: ANN401 - a row's columns may be of any type
    return row.values()
