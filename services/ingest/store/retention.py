"""Deleting single records that are old enough, and knowing afterwards that they were there."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from services.ingest.store.logs import RecordKey
from shared.contracts.usage import UsageLogged
from shared.postgres import Connection

# One at a time, in all processes. It ends with its transaction, whatever becomes of the process.
TRY_LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtext('llmring usage retention'))"
LIMIT: Final = "SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true)"


async def try_lock(connection: Connection, *, wait: timedelta, statement: timedelta) -> bool:
    """Be the only one that deletes until the transaction ends; False where another one is at it.

    Args:
        connection: in the transaction.
        wait: how long a statement of it may wait for a lock.
        statement: how long one may take.
    """
    await connection.fetchrow(LIMIT, *(f"{int(each.total_seconds() * 1000)}ms" for each in (wait, statement)))
    return bool(await connection.fetchval(TRY_LOCK))


# The index `logs_newest_first` leads to an account's oldest records. What somebody else holds is left for the
# next time.
DELETE_OLD: Final = """
WITH old AS (
    SELECT account_id, log_id FROM usage.logs
    WHERE account_id = $1 AND occurred_at < $2
    ORDER BY occurred_at, log_id LIMIT $3
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM usage.logs l USING old
    WHERE l.account_id = old.account_id AND l.log_id = old.log_id
    RETURNING l.account_id, l.log_id
), marked AS (
    UPDATE usage.claims c SET row_deleted = true FROM gone
    WHERE c.account_id = gone.account_id AND c.log_id = gone.log_id
)
SELECT count(*) FROM gone
"""
NOTE_DELETED: Final = """
INSERT INTO usage.retention AS r (account_id, deleted_before, deleted_records) VALUES ($1, $2, $3)
ON CONFLICT (account_id) DO UPDATE SET
    deleted_before = greatest(r.deleted_before, excluded.deleted_before),
    deleted_records = r.deleted_records + excluded.deleted_records
"""


async def delete_old(connection: Connection, account_id: UUID, before: datetime, limit: int) -> int:
    """Delete records of an account whose own time is before an instant, the oldest first; how many."""
    count = int(await connection.fetchval(DELETE_OLD, account_id, before, limit))
    if count:
        await connection.execute(NOTE_DELETED, account_id, before, count)
    return count


COUNT_OLD: Final = "SELECT count(*) FROM usage.logs WHERE account_id = $1 AND occurred_at < $2"


async def count_old(connection: Connection, account_id: UUID, before: datetime) -> int:
    """How many records of an account have their own time before an instant."""
    return int(await connection.fetchval(COUNT_OLD, account_id, before))


# A walk along the primary key: the next account after each.
LIST_ACCOUNTS: Final = """
WITH RECURSIVE walk (account_id, number) AS (
    SELECT $1::uuid, 0
     UNION ALL
    SELECT (SELECT l.account_id FROM usage.logs l
             WHERE l.account_id > walk.account_id ORDER BY l.account_id LIMIT 1),
           number + 1
      FROM walk WHERE account_id IS NOT NULL AND number < $2
)
SELECT account_id FROM walk WHERE account_id IS NOT NULL AND number > 0
"""


async def list_accounts_with_records(connection: Connection, after: UUID, limit: int) -> list[UUID]:
    """Accounts that have records, in the order of their ids."""
    return [UUID(int=row[0].int) for row in await connection.fetch(LIST_ACCOUNTS, after, limit)]


LIST_HORIZONS: Final = (
    "SELECT account_id, deleted_before FROM usage.retention WHERE account_id = ANY($1::uuid[])"
)


async def list_horizons(connection: Connection, account_ids: Collection[UUID]) -> dict[UUID, datetime]:
    """Before which instant records of some accounts may have been deleted; of some accounts none were."""
    rows = await connection.fetch(LIST_HORIZONS, list(account_ids))
    return {UUID(int=row["account_id"].int): row["deleted_before"] for row in rows}


def is_before(event: UsageLogged, horizons: Mapping[UUID, datetime]) -> bool:
    """Whether a record may have been deleted, as far as its own time tells."""
    horizon = horizons.get(event.account_id)
    return horizon is not None and event.occurred_at < horizon


LIST_ALL_HORIZONS: Final = "SELECT account_id, deleted_before FROM usage.retention"


async def list_all_horizons(connection: Connection) -> dict[UUID, datetime]:
    """The same of all accounts."""
    rows = await connection.fetch(LIST_ALL_HORIZONS)
    return {UUID(int=row["account_id"].int): row["deleted_before"] for row in rows}


TAKE_BACK: Final = """
DELETE FROM usage.logs l
USING unnest($1::uuid[], $2::uuid[]) AS a (account_id, log_id)
JOIN usage.claims c USING (account_id, log_id)
WHERE l.account_id = a.account_id AND l.log_id = a.log_id AND c.row_deleted
RETURNING l.account_id, l.log_id
"""


async def take_back_deleted(connection: Connection, keys: Sequence[RecordKey]) -> set[RecordKey]:
    """Of records that were just inserted, take out those that had been deleted before; which they are."""
    rows = await connection.fetch(TAKE_BACK, *(list(column) for column in zip(*keys, strict=True)))
    return {(UUID(int=row["account_id"].int), UUID(int=row["log_id"].int)) for row in rows}
