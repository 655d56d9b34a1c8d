"""The table of accounts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from services.auth.tiers import LIMIT_NAMES, LimitName, OwnLimits, TierName
from shared.errors import NotFoundError
from shared.postgres import Connection, Row

Role = Literal["customer", "operator"]


class Account(NamedTuple):
    """One account, as it is stored, less its password."""

    account_id: UUID
    email: str
    organization: str | None
    tier: TierName
    role: Role
    own_limits: OwnLimits
    suspended_at: datetime | None
    created_at: datetime
    email_verified_at: datetime | None = None


_COLUMNS: Final = """
account_id, email, organization, tier, role, suspended_at, created_at, email_verified_at,
has_own_requests_per_minute, own_requests_per_minute, has_own_logs_per_month, own_logs_per_month,
has_own_retention_days, own_retention_days
"""

INSERT_ACCOUNT: Final = """
INSERT INTO auth.accounts
    (account_id, email, email_key, organization, password_hash, tier, role, created_at,
     has_own_requests_per_minute, own_requests_per_minute, has_own_logs_per_month, own_logs_per_month,
     has_own_retention_days, own_retention_days)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (email_key) DO NOTHING
RETURNING true
"""


async def insert_account(
    connection: Connection, account: Account, *, email_key: str, password_hash: str | None
) -> bool:
    """Add an account, not suspended; False when its address is taken, also by one being added right now."""
    inserted = await connection.fetchval(
        INSERT_ACCOUNT,
        account.account_id,
        account.email,
        email_key,
        account.organization,
        password_hash,
        account.tier,
        account.role,
        account.created_at,
        *_own_columns(account.own_limits),
    )
    return bool(inserted)


GET_ACCOUNT: Final = f"SELECT {_COLUMNS} FROM auth.accounts WHERE account_id = $1"  # noqa: S608 - constants only


async def get_account(connection: Connection, account_id: UUID) -> Account:
    """Read one account.

    Raises:
        NotFoundError: there is none.
    """
    return _found(await connection.fetchrow(GET_ACCOUNT, account_id))


FIND_EMAIL_KEY: Final = "SELECT email_key FROM auth.accounts WHERE account_id = $1"


async def find_email_key(connection: Connection, account_id: UUID) -> str | None:
    """What the address of an account is compared by; None where there is no such account."""
    key: str | None = await connection.fetchval(FIND_EMAIL_KEY, account_id)
    return key


LOCK_ACCOUNT: Final = GET_ACCOUNT + " FOR UPDATE"


async def lock_account(connection: Connection, account_id: UUID) -> Account:
    """Read one account, and let nobody else change it until the transaction ends.

    Raises:
        NotFoundError: there is none.
    """
    return _found(await connection.fetchrow(LOCK_ACCOUNT, account_id))


FIND_ACCOUNT_BY_EMAIL: Final = f"SELECT {_COLUMNS} FROM auth.accounts WHERE email_key = $1"  # noqa: S608 - constants only


async def find_account_by_email(connection: Connection, email_key: str) -> Account | None:
    """The account of an address, if it has one."""
    row = await connection.fetchrow(FIND_ACCOUNT_BY_EMAIL, email_key)
    return None if row is None else _account(row)


LIST_ACCOUNTS: Final = f"""
SELECT {_COLUMNS} FROM auth.accounts
WHERE ($1::uuid IS NULL OR account_id < $1)
ORDER BY account_id DESC
LIMIT $2
"""  # noqa: S608 - constants only


async def list_accounts(connection: Connection, *, before: UUID | None, limit: int) -> list[Account]:
    """Accounts, newest first: their ids grow with time."""
    return [_account(row) for row in await connection.fetch(LIST_ACCOUNTS, before, limit)]


UPDATE_ACCOUNT: Final = """
UPDATE auth.accounts
SET tier = $2, suspended_at = $3,
    has_own_requests_per_minute = $4, own_requests_per_minute = $5,
    has_own_logs_per_month = $6, own_logs_per_month = $7,
    has_own_retention_days = $8, own_retention_days = $9
WHERE account_id = $1
"""


async def update_account(connection: Connection, account: Account) -> None:
    """Store tier, limits and suspension of an account that `lock_account` has read."""
    await connection.execute(
        UPDATE_ACCOUNT,
        account.account_id,
        account.tier,
        account.suspended_at,
        *_own_columns(account.own_limits),
    )


class Credentials(NamedTuple):
    """What a login is checked against; the password's hash is None where none was ever set."""

    account_id: UUID
    password_hash: str | None
    suspended_at: datetime | None


FIND_CREDENTIALS: Final = """
SELECT account_id, password_hash, suspended_at FROM auth.accounts WHERE email_key = $1
"""


async def find_credentials(connection: Connection, email_key: str) -> Credentials | None:
    """Those of the account of an address, if it has one."""
    row = await connection.fetchrow(FIND_CREDENTIALS, email_key)
    return None if row is None else Credentials(*row)


async def get_password_hash(connection: Connection, account_id: UUID) -> str | None:
    """The hash of an account's password; None where none was ever set."""
    found: str | None = await connection.fetchval(
        "SELECT password_hash FROM auth.accounts WHERE account_id = $1", account_id
    )
    return found


SET_PASSWORD: Final = "UPDATE auth.accounts SET password_hash = $2 WHERE account_id = $1"  # noqa: S105 - SQL


async def set_password(connection: Connection, account_id: UUID, password_hash: str) -> None:
    """Store the hash of an account's password."""
    await connection.execute(SET_PASSWORD, account_id, password_hash)


REMOVE_PASSWORD: Final = """
UPDATE auth.accounts SET password_hash = NULL WHERE account_id = $1 AND password_hash IS NOT NULL
"""  # noqa: S105 - SQL


async def remove_password(connection: Connection, account_id: UUID) -> bool:
    """Leave an account without a password; False when it had none."""
    return await connection.execute(REMOVE_PASSWORD, account_id) != "UPDATE 0"


MARK_EMAIL_VERIFIED: Final = """
UPDATE auth.accounts SET email_verified_at = $2 WHERE account_id = $1 AND email_verified_at IS NULL
"""


async def mark_email_verified(connection: Connection, account_id: UUID, at: datetime) -> None:
    """Remember when somebody first showed that they read the mail of an account's address."""
    await connection.execute(MARK_EMAIL_VERIFIED, account_id, at)


NOTE_SHORTER_RETENTION: Final = "UPDATE auth.accounts SET retention_shortened_at = $2 WHERE account_id = $1"


async def note_shorter_retention(connection: Connection, account_id: UUID, at: datetime) -> None:
    """Remember when records of an account began to be kept for a shorter time."""
    await connection.execute(NOTE_SHORTER_RETENTION, account_id, at)


class Retention(NamedTuple):
    """What decides for how long an account's records are kept."""

    account_id: UUID
    tier: TierName
    own_limits: OwnLimits
    shortened_at: datetime | None


LIST_RETENTION: Final = """
SELECT account_id, tier, retention_shortened_at,
       has_own_requests_per_minute, own_requests_per_minute, has_own_logs_per_month, own_logs_per_month,
       has_own_retention_days, own_retention_days
FROM auth.accounts WHERE account_id = ANY($1::uuid[])
"""


async def list_retention(connection: Connection, account_ids: Sequence[UUID]) -> list[Retention]:
    """Of some accounts, as far as they exist."""
    rows = await connection.fetch(LIST_RETENTION, list(account_ids))
    return [
        Retention(row["account_id"], row["tier"], own_limits_of(row), row["retention_shortened_at"])
        for row in rows
    ]


def own_limits_of(row: Row) -> dict[LimitName, int | None]:
    """The own limits in a row that has the columns `has_own_*` and `own_*`."""
    return {name: row[f"own_{name}"] for name in LIMIT_NAMES if row[f"has_own_{name}"]}


def _own_columns(own: Mapping[LimitName, int | None]) -> list[bool | int | None]:
    return [column for name in LIMIT_NAMES for column in (name in own, own.get(name))]


def _found(row: Row | None) -> Account:
    if row is None:
        raise NotFoundError("There is no such account.")
    return _account(row)


def _account(row: Row) -> Account:
    return Account(
        account_id=row["account_id"],
        email=row["email"],
        organization=row["organization"],
        tier=row["tier"],
        role=row["role"],
        own_limits=own_limits_of(row),
        suspended_at=row["suspended_at"],
        created_at=row["created_at"],
        email_verified_at=row["email_verified_at"],
    )
