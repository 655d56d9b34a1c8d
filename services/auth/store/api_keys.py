"""The table of API keys. Plain keys are never here, only their SHA-256."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from services.auth.store.accounts import Role, own_limits_of
from services.auth.tiers import OwnLimits, TierName
from shared.postgres import Connection, Row

Origin = Literal["first", "login", "made"]
"""How a key came about: without asking, at a login, or by name."""

INSERT_API_KEY: Final = """
INSERT INTO auth.api_keys
    (account_id, key_id, key_sha256, prefix, name, scopes, created_at, expires_at, origin, unproven)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce(
    (SELECT unproven FROM auth.api_keys WHERE account_id = $1 AND key_id = $10), false))
"""


async def insert_api_key(
    connection: Connection,
    *,
    account_id: UUID,
    key_id: UUID,
    key_sha256: bytes,
    prefix: str,
    name: str | None,
    scopes: Sequence[str],
    created_at: datetime,
    expires_at: datetime | None = None,
    origin: Origin = "made",
    made_by: UUID | None = None,
) -> None:
    """Add a key; `expires_at` None is never. What an unproven key of the account makes is unproven too."""
    await connection.execute(
        INSERT_API_KEY,
        account_id,
        key_id,
        key_sha256,
        prefix,
        name,
        list(scopes),
        created_at,
        expires_at,
        origin,
        made_by,
    )


class StoredKey(NamedTuple):
    """One key, as its owner may see it."""

    key_id: UUID
    name: str | None
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    def is_live(self, at: datetime) -> bool:
        """Whether it opens anything at an instant, as far as the key itself goes."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > at)


_COLUMNS: Final = ", ".join(StoredKey._fields)

LIST_KEYS: Final = f"""
SELECT {_COLUMNS} FROM auth.api_keys
WHERE account_id = $1
  AND ($2 OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3)))
  AND ($4::uuid IS NULL OR key_id < $4)
ORDER BY key_id DESC
LIMIT $5
"""  # noqa: S608 - constants only


async def list_keys(
    connection: Connection,
    account_id: UUID,
    *,
    at: datetime,
    with_ended: bool,
    before: UUID | None,
    limit: int,
) -> list[StoredKey]:
    """An account's keys, newest first (by their growing ids); those that live at an instant, or all."""
    rows = await connection.fetch(LIST_KEYS, account_id, with_ended, at, before, limit)
    return [_stored(row) for row in rows]


FIND_KEY: Final = f"SELECT {_COLUMNS} FROM auth.api_keys WHERE account_id = $1 AND key_id = $2"  # noqa: S608 - constants only


async def find_key(connection: Connection, account_id: UUID, key_id: UUID) -> StoredKey | None:
    """A key of an account, whether it lives or not."""
    row = await connection.fetchrow(FIND_KEY, account_id, key_id)
    return None if row is None else _stored(row)


LIST_OWNED: Final = "SELECT key_id FROM auth.api_keys WHERE account_id = $1 AND key_id = ANY ($2::uuid[])"


async def list_owned(connection: Connection, account_id: UUID, key_ids: Sequence[UUID]) -> list[UUID]:
    """Those of some ids that are keys of an account, whether they live or not."""
    rows = await connection.fetch(LIST_OWNED, account_id, list(key_ids))
    return [UUID(int=row["key_id"].int) for row in rows]


COUNT_LIVE_KEYS: Final = """
SELECT count(*) FROM auth.api_keys
WHERE account_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
"""


async def count_live_keys(connection: Connection, account_id: UUID, at: datetime) -> int:
    """How many keys of an account live."""
    return int(await connection.fetchval(COUNT_LIVE_KEYS, account_id, at))


UPDATE_KEY: Final = """
UPDATE auth.api_keys SET name = $3, scopes = $4, expires_at = $5, revoked_at = $6
WHERE account_id = $1 AND key_id = $2
"""


async def update_key(connection: Connection, account_id: UUID, key: StoredKey) -> None:
    """Store name, scopes, expiry and revocation of a key, whose account is locked."""
    await connection.execute(
        UPDATE_KEY, account_id, key.key_id, key.name, list(key.scopes), key.expires_at, key.revoked_at
    )


def _stored(row: Row) -> StoredKey:
    facts = dict(row.items())
    return StoredKey(**{**facts, "scopes": tuple(facts["scopes"])})


class LiveKey(NamedTuple):
    """A key that opens something, with what its account allows."""

    account_id: UUID
    key_id: UUID
    scopes: tuple[str, ...]
    expires_at: datetime | None
    last_used_at: datetime | None
    role: Role
    tier: TierName
    own_limits: OwnLimits


FIND_LIVE_KEY: Final = """
SELECT k.account_id, k.key_id, k.scopes, k.expires_at, k.last_used_at, a.role, a.tier,
       a.has_own_requests_per_minute, a.own_requests_per_minute,
       a.has_own_logs_per_month, a.own_logs_per_month,
       a.has_own_retention_days, a.own_retention_days
FROM auth.api_keys k JOIN auth.accounts a USING (account_id)
WHERE k.key_sha256 = $1
  AND k.revoked_at IS NULL
  AND (k.expires_at IS NULL OR k.expires_at > $2)
  AND a.suspended_at IS NULL
"""


async def find_live_key(connection: Connection, key_sha256: bytes, at: datetime) -> LiveKey | None:
    """The key of this hash, unless it is revoked, has expired by `at`, or its account is suspended."""
    row = await connection.fetchrow(FIND_LIVE_KEY, key_sha256, at)
    if row is None:
        return None
    return LiveKey(
        account_id=row["account_id"],
        key_id=row["key_id"],
        scopes=tuple(row["scopes"]),
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        role=row["role"],
        tier=row["tier"],
        own_limits=own_limits_of(row),
    )


class HeldKey(NamedTuple):
    """A key that lives; `expires_at` None is never."""

    scopes: tuple[str, ...]
    expires_at: datetime | None


# No stronger lock than an update of the row itself takes, so that whoever holds a key may go on to change it.
HOLD_LIVE_KEY: Final = """
SELECT k.scopes, k.expires_at FROM auth.api_keys k JOIN auth.accounts a USING (account_id)
WHERE k.account_id = $1 AND k.key_id = $2
  AND k.revoked_at IS NULL
  AND (k.expires_at IS NULL OR k.expires_at > $3)
  AND a.suspended_at IS NULL
FOR NO KEY UPDATE OF k
"""


async def hold_live_key(
    connection: Connection, account_id: UUID, key_id: UUID, at: datetime
) -> HeldKey | None:
    """A key that lives, and stays as it is until the transaction ends; None if it has ended."""
    row = await connection.fetchrow(HOLD_LIVE_KEY, account_id, key_id, at)
    return None if row is None else HeldKey(tuple(row["scopes"]), row["expires_at"])


MARK_KEY_USED: Final = """
UPDATE auth.api_keys SET last_used_at = $3
WHERE account_id = $1 AND key_id = $2 AND (last_used_at IS NULL OR last_used_at < $3)
"""


async def mark_key_used(connection: Connection, account_id: UUID, key_id: UUID, at: datetime) -> None:
    """Remember that a key was used; an earlier instant than the stored one changes nothing."""
    await connection.execute(MARK_KEY_USED, account_id, key_id, at)


REVOKE_OLDER_KEYS: Final = """
UPDATE auth.api_keys SET revoked_at = $4
WHERE account_id = $1 AND origin = $2 AND revoked_at IS NULL AND key_id IN (
    SELECT key_id FROM auth.api_keys
    WHERE account_id = $1 AND origin = $2 AND revoked_at IS NULL
    ORDER BY created_at DESC, key_id DESC OFFSET $3
)
RETURNING key_id
"""


async def revoke_older_keys(
    connection: Connection, account_id: UUID, origin: Origin, *, keep: int, at: datetime
) -> list[UUID]:
    """Revoke an account's keys of one origin but for the newest ones; tells which. The account is locked."""
    rows = await connection.fetch(REVOKE_OLDER_KEYS, account_id, origin, keep, at)
    return [row["key_id"] for row in rows]


async def mark_keys_unproven(connection: Connection, account_id: UUID) -> None:
    """Remember which keys may be those of whoever registered the address of somebody else."""
    await connection.execute("UPDATE auth.api_keys SET unproven = true WHERE account_id = $1", account_id)


REVOKE_UNPROVEN_KEYS: Final = """
UPDATE auth.api_keys SET revoked_at = $2
WHERE account_id = $1 AND unproven AND revoked_at IS NULL
RETURNING key_id
"""


async def revoke_unproven_keys(connection: Connection, account_id: UUID, at: datetime) -> list[UUID]:
    """Revoke the keys that were marked, and those made by them; tells which. The account is locked."""
    rows = await connection.fetch(REVOKE_UNPROVEN_KEYS, account_id, at)
    return [row["key_id"] for row in rows]


REVOKE_ALL_KEYS: Final = """
UPDATE auth.api_keys SET revoked_at = $2 WHERE account_id = $1 AND revoked_at IS NULL RETURNING key_id
"""


async def revoke_all_keys(connection: Connection, account_id: UUID, at: datetime) -> list[UUID]:
    """Revoke all keys of an account; tells which. The account is locked."""
    rows = await connection.fetch(REVOKE_ALL_KEYS, account_id, at)
    return [row["key_id"] for row in rows]


# One that still waits for a session is referred to; with that session it will be gone. One that may be a
# stranger's is kept: what he made by it is known by it (see `join`).
DELETE_ENDED_KEYS: Final = """
DELETE FROM auth.api_keys WHERE (account_id, key_id) IN (
    SELECT account_id, key_id FROM auth.api_keys k
    WHERE (revoked_at IS NOT NULL OR expires_at IS NOT NULL) AND LEAST(revoked_at, expires_at) < $1
      AND NOT unproven
      AND NOT EXISTS (
          SELECT FROM auth.pending_keys p WHERE (p.account_id, p.key_id) = (k.account_id, k.key_id))
    LIMIT $2 FOR UPDATE SKIP LOCKED
)
"""


async def delete_ended_keys(connection: Connection, *, before: datetime, limit: int) -> int:
    """Delete some keys that were revoked or have expired before an instant; tells how many."""
    tag = await connection.execute(DELETE_ENDED_KEYS, before, limit)
    return int(tag.rpartition(" ")[2])


class KeyStatus(NamedTuple):
    """An account's keys, seen from afar: how many open something, and the newest of them."""

    live: int
    prefix: str | None
    created_at: datetime | None
    last_used_at: datetime | None


GET_KEY_STATUS: Final = """
SELECT count(*) OVER () AS live, prefix, created_at, last_used_at FROM auth.api_keys
WHERE account_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
ORDER BY created_at DESC, key_id DESC LIMIT 1
"""


async def get_key_status(connection: Connection, account_id: UUID, at: datetime) -> KeyStatus:
    """How it stands with an account's keys."""
    row = await connection.fetchrow(GET_KEY_STATUS, account_id, at)
    return KeyStatus(0, None, None, None) if row is None else KeyStatus(*row)
