"""The rollups as they would be if they were added up from the rows now; and putting them so.

The sums here and those of `services.ingest.rollup` are two ways to the same figures; tests compare them.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import NamedTuple
from uuid import UUID

from services.ingest.latency import list_bucket_starts_ms
from shared.postgres import Connection

_LARGEST_MS = 2**53
_FETCHED_AT_ONCE = 1_000
_EPOCH = "timestamptz '0001-01-01 00:00:00+00'"
_NAMES = "provider, model_group, origin, alias"
_MEASURES = (
    "requests, unpriced_requests, cost, input_tokens, output_tokens, cached_input_tokens, timed_requests, "
    "latency_ms"
)
MEASURES = tuple(_MEASURES.split(", "))


class SumsFound(NamedTuple):
    """One row of the rollups: what it must hold by the rows, and what it holds. None: there is no such."""

    account_id: UUID
    grain: str
    bucket_at: datetime
    names: tuple[str, str, str, str]
    due: dict[str, int | Decimal] | None
    found: dict[str, int | Decimal] | None


class CountFound(NamedTuple):
    """One row of the latency counts, in the same way. The four names are '' for a whole account."""

    account_id: UUID
    grain: str
    bucket_at: datetime
    names: tuple[str, str, str, str]
    latency_bucket: int
    due: int | None
    found: int | None


def _due_sums(where: str) -> str:
    return f"""
quarters AS MATERIALIZED (
    SELECT account_id, date_bin('15 minutes', occurred_at, {_EPOCH}) AS bucket_at,
           lower(l.provider COLLATE "C") COLLATE "default" AS provider, model_group,
           coalesce(origin, '') AS origin, coalesce(alias, '') AS alias,
           count(*) AS requests, count(*) - count(cost) AS unpriced_requests, coalesce(sum(cost), 0) AS cost,
           sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,
           sum(cached_input_tokens)::bigint AS cached_input_tokens, count(latency_ms) AS timed_requests,
           coalesce(sum(latency_ms), 0) AS latency_ms
      FROM usage.logs l
     WHERE {where}
     GROUP BY 1, 2, 3, 4, 5, 6
), due AS (
    SELECT account_id, 'q'::"char" AS grain, bucket_at, {_NAMES}, {_MEASURES} FROM quarters
     UNION ALL
    SELECT account_id, 'd'::"char", date_bin('1 day', bucket_at, {_EPOCH}), {_NAMES},
           sum(requests)::bigint, sum(unpriced_requests)::bigint, sum(cost), sum(input_tokens)::bigint,
           sum(output_tokens)::bigint, sum(cached_input_tokens)::bigint, sum(timed_requests)::bigint,
           sum(latency_ms)
      FROM quarters GROUP BY 1, 3, 4, 5, 6, 7
)"""  # noqa: S608 - fixed text alone


def _due_counts(where: str, bounds: str) -> str:
    return f"""
quarters AS MATERIALIZED (
    SELECT account_id, date_bin('15 minutes', occurred_at, {_EPOCH}) AS bucket_at,
           lower(l.provider COLLATE "C") COLLATE "default" AS provider, model_group,
           coalesce(origin, '') AS origin, coalesce(alias, '') AS alias,
           width_bucket(latency_ms, {bounds})::smallint AS latency_bucket, count(*) AS requests
      FROM usage.logs l
     WHERE latency_ms IS NOT NULL AND {where}
     GROUP BY 1, 2, 3, 4, 5, 6, 7
), grains AS (
    SELECT account_id, 'q'::"char" AS grain, bucket_at, {_NAMES}, latency_bucket, requests FROM quarters
     UNION ALL
    SELECT account_id, 'd'::"char", date_bin('1 day', bucket_at, {_EPOCH}), {_NAMES}, latency_bucket,
           sum(requests)::bigint
      FROM quarters GROUP BY 1, 3, 4, 5, 6, 7, 8
), due AS (
    SELECT account_id, grain, bucket_at, {_NAMES}, latency_bucket, requests FROM grains
     UNION ALL
    SELECT account_id, grain, bucket_at, '', '', '', '', latency_bucket, sum(requests)::bigint
      FROM grains GROUP BY 1, 2, 3, 8
)"""  # noqa: S608 - fixed text alone


# Of a day from which retention has deleted records the rows do not tell what the sums must be.
_KEPT = f"""
NOT EXISTS (SELECT FROM usage.retention r WHERE r.account_id = coalesce(due.account_id, found.account_id)
            AND date_bin('1 day', coalesce(due.bucket_at, found.bucket_at), {_EPOCH}) < r.deleted_before)
"""
_OF_ACCOUNTS = "account_id = ANY($1::uuid[])"
_OF_A_DAY = "account_id = $1 AND occurred_at >= $2 AND occurred_at < $2 + interval '1 day'"

LIST_WRONG_SUMS = f"""
WITH {_due_sums(_OF_ACCOUNTS)},
found AS (
    SELECT account_id, grain, bucket_at, {_NAMES}, {_MEASURES} FROM usage.rollups WHERE {_OF_ACCOUNTS}
)
SELECT account_id, grain::text AS grain, bucket_at, {_NAMES},
       {", ".join(f"due.{name} AS due_{name}, found.{name} AS found_{name}" for name in MEASURES)}
  FROM due FULL JOIN found USING (account_id, grain, bucket_at, {_NAMES})
 WHERE {_KEPT} AND ({", ".join(f"due.{name}" for name in MEASURES)})
       IS DISTINCT FROM ({", ".join(f"found.{name}" for name in MEASURES)})
"""  # noqa: S608 - fixed text alone


async def list_wrong_sums(connection: Connection, account_ids: Sequence[UUID]) -> AsyncIterator[SumsFound]:
    """The rows of the rollups that are not the sums of some accounts' rows, inside a transaction."""
    cursor = await connection.cursor(LIST_WRONG_SUMS, account_ids)
    while rows := await cursor.fetch(_FETCHED_AT_ONCE):
        for row in rows:
            account_id, grain, bucket_at, *rest = row.values()
            due = dict(zip(MEASURES, rest[4::2], strict=True))
            found = dict(zip(MEASURES, rest[5::2], strict=True))
            yield SumsFound(
                account_id,
                grain,
                bucket_at,
                (rest[0], rest[1], rest[2], rest[3]),
                None if due["requests"] is None else due,
                None if found["requests"] is None else found,
            )


LIST_WRONG_COUNTS = f"""
WITH {_due_counts(_OF_ACCOUNTS, "$2::bigint[]")},
found AS (
    SELECT account_id, grain, bucket_at, {_NAMES}, latency_bucket, requests
      FROM usage.latency_rollups WHERE {_OF_ACCOUNTS}
)
SELECT account_id, grain::text AS grain, bucket_at, {_NAMES}, latency_bucket,
       due.requests AS due, found.requests AS found
  FROM due FULL JOIN found USING (account_id, grain, bucket_at, {_NAMES}, latency_bucket)
 WHERE {_KEPT} AND due.requests IS DISTINCT FROM found.requests
"""  # noqa: S608 - fixed text alone


async def list_wrong_counts(connection: Connection, account_ids: Sequence[UUID]) -> AsyncIterator[CountFound]:
    """The latency counts that are not those of some accounts' rows, inside a transaction."""
    cursor = await connection.cursor(LIST_WRONG_COUNTS, account_ids, _bounds())
    while rows := await cursor.fetch(_FETCHED_AT_ONCE):
        for account_id, grain, bucket_at, provider, group, origin, alias, bucket, due, found in rows:
            names = (provider, group, origin, alias)
            yield CountFound(account_id, grain, bucket_at, names, bucket, due, found)


LOCK_ROLLUPS = "LOCK TABLE usage.rollups, usage.latency_rollups IN SHARE ROW EXCLUSIVE MODE"
LIMIT_WAIT = "SET LOCAL lock_timeout = '10s'"

DELETE_DAY = """
DELETE FROM usage.{table}
 WHERE account_id = $1 AND bucket_at >= $2 AND bucket_at < $2 + interval '1 day'
"""

INSERT_DAY_OF_SUMS = f"""
WITH {_due_sums(_OF_A_DAY)}
INSERT INTO usage.rollups (account_id, grain, bucket_at, {_NAMES}, {_MEASURES})
SELECT account_id, grain, bucket_at, {_NAMES}, {_MEASURES} FROM due
"""  # noqa: S608 - fixed text alone

INSERT_DAY_OF_COUNTS = f"""
WITH {_due_counts(_OF_A_DAY, "$3::bigint[]")}
INSERT INTO usage.latency_rollups (account_id, grain, bucket_at, {_NAMES}, latency_bucket, requests)
SELECT account_id, grain, bucket_at, {_NAMES}, latency_bucket, requests FROM due
"""  # noqa: S608 - fixed text alone


async def replace_day(connection: Connection, account_id: UUID, day_at: datetime) -> None:
    """Add one day of one account up anew, in both tables and grains; raters wait until this commits.

    With the lock every rater that has added to the rollups has committed, so its rows are seen by what comes
    after the lock; and one that has not can add only after this.

    Args:
        connection: of a transaction at READ COMMITTED, in which nothing was read before.
        account_id: whose day.
        day_at: its first instant, UTC.
    """
    await connection.execute(LIMIT_WAIT)
    await connection.execute(LOCK_ROLLUPS)
    for table in ("rollups", "latency_rollups"):
        await connection.execute(DELETE_DAY.format(table=table), account_id, day_at)
    await connection.execute(INSERT_DAY_OF_SUMS, account_id, day_at)
    await connection.execute(INSERT_DAY_OF_COUNTS, account_id, day_at, _bounds())


# A walk along three indexes: the next account after each, in whichever table it is.
LIST_ACCOUNTS = """
WITH RECURSIVE walk (account_id, number) AS (
    SELECT $1::uuid, 0
     UNION ALL
    SELECT least(
               (SELECT l.account_id FROM usage.logs l
                 WHERE l.account_id > walk.account_id ORDER BY l.account_id LIMIT 1),
               (SELECT r.account_id FROM usage.rollups r
                 WHERE r.account_id > walk.account_id ORDER BY r.account_id LIMIT 1),
               (SELECT c.account_id FROM usage.latency_rollups c
                 WHERE c.account_id > walk.account_id ORDER BY c.account_id LIMIT 1)),
           number + 1
      FROM walk WHERE account_id IS NOT NULL AND number < $2
)
SELECT account_id FROM walk WHERE account_id IS NOT NULL AND number > 0
"""


async def list_accounts(connection: Connection, after: UUID, limit: int) -> list[UUID]:
    """The accounts that have rows or rollups, in the order of their ids."""
    return [UUID(int=row[0].int) for row in await connection.fetch(LIST_ACCOUNTS, after, limit)]


@cache
def _bounds() -> list[int]:
    return list_bucket_starts_ms(_LARGEST_MS)
