"""Which key secrets are sealed with, by a fingerprint that does not give it away, and the sealed secrets."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from shared.postgres import Connection


class Sealing(NamedTuple):
    """The key that counts, and the one before while it is being changed: their fingerprints."""

    fingerprint: bytes
    retiring: bytes | None


FIND_SEALING: Final = "SELECT fingerprint, retiring FROM webhooks.sealing_key"


async def find_sealing(connection: Connection) -> Sealing | None:
    """As it is; None before the first key."""
    row = await connection.fetchrow(FIND_SEALING)
    return None if row is None else Sealing(*row)


HOLD_SEALING: Final = f"{FIND_SEALING} FOR SHARE"


async def hold_sealing(connection: Connection) -> Sealing | None:
    """The same, and it stays so until the transaction ends."""
    row = await connection.fetchrow(HOLD_SEALING)
    return None if row is None else Sealing(*row)


LOCK_SEALING: Final = f"{FIND_SEALING} FOR UPDATE"


async def lock_sealing(connection: Connection) -> None:
    """Wait for those who seal, and let nobody else until the transaction ends."""
    await connection.execute(LOCK_SEALING)


INSERT_FINGERPRINT: Final = """
INSERT INTO webhooks.sealing_key (fingerprint) VALUES ($1) ON CONFLICT DO NOTHING
"""


async def insert_fingerprint(connection: Connection, fingerprint: bytes) -> Sealing:
    """Note the key down, unless there is one; tells that of the one which counts."""
    await connection.execute(INSERT_FINGERPRINT, fingerprint)
    return await find_sealing(connection) or Sealing(fingerprint, None)


RETIRE: Final = "UPDATE webhooks.sealing_key SET fingerprint = $1, retiring = $2"


async def retire(connection: Connection, to: Sealing) -> None:
    """Have another key count, and remember the one before."""
    await connection.execute(RETIRE, *to)


UNRETIRE: Final = """
UPDATE webhooks.sealing_key SET retiring = NULL WHERE fingerprint = $1 AND retiring = $2
"""


async def unretire(connection: Connection, done: Sealing) -> None:
    """Forget the key before: nothing is sealed with it any more."""
    await connection.execute(UNRETIRE, *done)


class Sealed(NamedTuple):
    """The secrets of an endpoint as they lie in the database."""

    account_id: UUID
    endpoint_id: UUID
    secret: bytes
    old_secret: bytes | None


LIST_SEALED: Final = """
SELECT account_id, endpoint_id, secret, old_secret FROM webhooks.endpoints
 WHERE (account_id, endpoint_id) > ($1, $2) ORDER BY account_id, endpoint_id LIMIT $3 FOR NO KEY UPDATE
"""


async def list_sealed(connection: Connection, after: tuple[UUID, UUID], limit: int) -> list[Sealed]:
    """The next ones in the order of their ids, locked."""
    rows = await connection.fetch(LIST_SEALED, *after, limit)
    return [Sealed(UUID(int=row[0].int), UUID(int=row[1].int), row[2], row[3]) for row in rows]


STORE_SEALED: Final = """
UPDATE webhooks.endpoints e SET secret = s.secret, old_secret = s.old_secret
  FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[])
       AS s (account_id, endpoint_id, secret, old_secret)
 WHERE e.account_id = s.account_id AND e.endpoint_id = s.endpoint_id
"""


async def store_sealed(connection: Connection, sealed: Sequence[Sealed]) -> None:
    """Store the same secrets, sealed anew."""
    await connection.execute(STORE_SEALED, *(list(column) for column in zip(*sealed, strict=True)))
