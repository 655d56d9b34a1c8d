"""What is stored already when a budget is made: from the sums, or from single records."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from services.ingest.budget import StoredBudget
from shared.postgres import Connection

# Those of records that retention has deleted are among them still.
BEGIN_MONTHS: Final = """
INSERT INTO usage.budget_months (account_id, budget_id, month, spent, unpriced)
SELECT $1, $2, date_trunc('month', bucket_at AT TIME ZONE 'UTC')::date, sum(cost),
       sum(unpriced_requests)::bigint
  FROM usage.rollups
 WHERE account_id = $1 AND grain = 'd' AND bucket_at >= $3 AND ($4::text IS NULL OR origin = $4)
 GROUP BY 3
"""


async def begin_months(connection: Connection, budget: StoredBudget, start_at: datetime) -> None:
    """Begin a new budget's months with the sums; of one by key there are none.

    Args:
        connection: of the transaction that has the lock of `lock_to_set_budgets`.
        budget: the new one, of an account or an origin.
        start_at: when the first month begins.
    """
    origin = budget.value if budget.scope == "origin" else None
    await connection.execute(BEGIN_MONTHS, *budget.key, start_at, origin)


INSERT_COUNTING: Final = """
INSERT INTO usage.budgets
    (account_id, budget_id, name, scope, value, amount, thresholds, counts_from, counting_until)
VALUES ($1, $2, $3, $4, $5, $6, '{}', $7, clock_timestamp() + $8::interval)
"""


async def insert_counting(connection: Connection, budgets: Sequence[StoredBudget], within: timedelta) -> None:
    """Have raters count for budgets that nobody sees yet, in the transaction that has the account's lock.

    They reach no thresholds. `put_budgets` makes them whole.
    """
    await connection.executemany(
        INSERT_COUNTING,
        [(*each.key, *each[1:4], each.amount, each.counts_from, within) for each in budgets],
    )


DISCARD_COUNTING: Final = """
DELETE FROM usage.budgets
 WHERE account_id = $1 AND counting_until IS NOT NULL
   AND (budget_id = ANY ($2::uuid[]) OR counting_until <= clock_timestamp())
"""


async def discard_counting(connection: Connection, account_id: UUID, budget_ids: Sequence[UUID]) -> None:
    """Delete some that are being made, and those of whoever has died."""
    await connection.execute(DISCARD_COUNTING, account_id, budget_ids)


DISCARD_ALL_COUNTING: Final = "DELETE FROM usage.budgets WHERE counting_until IS NOT NULL"


async def discard_all_counting(connection: Connection) -> None:
    """Delete all that are being made: what they were counted from is not there any more."""
    await connection.execute(DISCARD_ALL_COUNTING)


class Place(NamedTuple):
    """A record, in the order of their times."""

    occurred_at: datetime
    log_id: UUID


class KeySum(NamedTuple):
    """What records of a key have cost in a month, and how many have no cost."""

    key_id: UUID
    month: date
    spent: Decimal
    unpriced: int


SUM_SLICE: Final = """
WITH slice AS MATERIALIZED (
    SELECT occurred_at, log_id, key_id, cost FROM usage.logs
     WHERE account_id = $1 AND (occurred_at, log_id) > ($2, $3)
     ORDER BY occurred_at, log_id LIMIT $4
), last AS (
    SELECT occurred_at, log_id FROM slice ORDER BY occurred_at DESC, log_id DESC LIMIT 1
)
SELECT last.occurred_at, last.log_id, sums.*
  FROM last LEFT JOIN (
      SELECT key_id, date_trunc('month', occurred_at AT TIME ZONE 'UTC')::date AS month,
             coalesce(sum(cost), 0) AS spent, count(*) - count(cost) AS unpriced
        FROM slice WHERE key_id = ANY ($5::uuid[]) GROUP BY 1, 2
  ) AS sums ON true
"""


async def sum_slice(
    connection: Connection, account_id: UUID, after: Place, limit: int, key_ids: Sequence[UUID]
) -> tuple[Place | None, list[KeySum]]:
    """What the next records of an account have cost by key, and the last of them; None after the end."""
    rows = await connection.fetch(SUM_SLICE, account_id, *after, limit, key_ids)
    if not rows:
        return None, []
    sums = [KeySum(UUID(int=row[2].int), row[3], row[4], row[5]) for row in rows if row[2] is not None]
    return Place(rows[0][0], UUID(int=rows[0][1].int)), sums
