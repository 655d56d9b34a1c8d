"""The tables of budgets and of what their months have spent.

Of those who change a budget's months or reservations one at a time does, with the lock of its row
(`lock_budgets`, `lock_budget`). The locks are taken in the order of the keys, and before all others of these
tables, so that nobody waits for another one in a circle.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from services.ingest.budget import BudgetKey, StoredBudget
from shared.postgres import Connection, Row

_COLUMNS: Final = (
    "b.account_id, b.budget_id, b.name, b.scope, b.value, b.amount, b.thresholds, b.counts_from, "
    "b.counting_until"
)


class MonthOfBudget(NamedTuple):
    """A month of a budget: the first day of it names it."""

    key: BudgetKey
    month: date


class Change(NamedTuple):
    """What is added to a month."""

    spent: Decimal
    reserved: Decimal
    unpriced: int


class Use(NamedTuple):
    """How far a month's budget is used.

    Attributes:
        reserved: what is held; see `list_uses` and `add_to_budgets`.
        told: the thresholds of which was told that they are reached.
    """

    spent: Decimal
    reserved: Decimal
    unpriced: int
    told: tuple[Decimal, ...]


LIST_BUDGETS_TO_COUNT: Final = f"SELECT {_COLUMNS} FROM usage.list_budgets_to_count($1::uuid[]) AS b"  # noqa: S608 - fixed text


async def list_budgets_to_count(connection: Connection, account_ids: Collection[UUID]) -> list[StoredBudget]:
    """The budgets of accounts whose records were stored in this transaction, by their keys.

    Until it ends, none is made or changed.
    """
    return [_budget(row) for row in await connection.fetch(LIST_BUDGETS_TO_COUNT, list(account_ids))]


LOCK_ACCOUNT: Final = "SELECT usage.lock_to_set_budgets($1)"
LOCK_OF_ACCOUNT: Final = f"""
SELECT {_COLUMNS} FROM usage.budgets b WHERE b.account_id = $1 ORDER BY b.budget_id FOR UPDATE
"""  # noqa: S608 - fixed text alone


async def lock_to_set_budgets(connection: Connection, account_id: UUID) -> list[StoredBudget]:
    """An account's budgets, which nobody else counts in or changes until the transaction ends.

    Those that are being made are among them.
    """
    await connection.execute(LOCK_ACCOUNT, account_id)
    return [_budget(row) for row in await connection.fetch(LOCK_OF_ACCOUNT, account_id)]


LOCK_BUDGETS: Final = """
SELECT FROM usage.budgets b
JOIN unnest($1::uuid[], $2::uuid[]) AS asked (account_id, budget_id) USING (account_id, budget_id)
ORDER BY b.account_id, b.budget_id FOR NO KEY UPDATE OF b
"""


async def lock_budgets(connection: Connection, keys: Collection[BudgetKey]) -> None:
    """Be the only one that changes what these budgets have spent, until the transaction ends."""
    in_order = sorted(keys, key=lambda key: (key.account_id.int, key.budget_id.int))
    await connection.execute(LOCK_BUDGETS, *_columns(in_order))


LOCK_BUDGET: Final = f"""
SELECT {_COLUMNS} FROM usage.budgets b WHERE b.account_id = $1 AND b.budget_id = $2 FOR NO KEY UPDATE
"""  # noqa: S608 - fixed text alone


async def lock_budget(connection: Connection, key: BudgetKey) -> StoredBudget | None:
    """The same of one budget; None where there is none."""
    row = await connection.fetchrow(LOCK_BUDGET, *key)
    return None if row is None else _budget(row)


DELETE_BUDGETS: Final = """
WITH gone AS (
    DELETE FROM usage.budgets WHERE account_id = $1 AND budget_id = ANY ($2::uuid[])
    RETURNING account_id, budget_id
)
INSERT INTO usage.removed_budget_months (account_id, budget_id, month)
SELECT account_id, budget_id, month FROM gone JOIN usage.budget_months USING (account_id, budget_id)
 WHERE NOT forgotten
"""


async def delete_budgets(connection: Connection, account_id: UUID, budget_ids: Sequence[UUID]) -> None:
    """Delete budgets and what was spent of them. `delete_old_reservations` deletes their reservations."""
    await connection.execute(DELETE_BUDGETS, account_id, budget_ids)


PUT_BUDGETS: Final = """
INSERT INTO usage.budgets AS b (account_id, budget_id, name, scope, value, amount, thresholds, counts_from)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (account_id, budget_id) DO UPDATE SET
    name = excluded.name, amount = excluded.amount, thresholds = excluded.thresholds, counting_until = NULL
"""


async def put_budgets(connection: Connection, budgets: Sequence[StoredBudget]) -> None:
    """Store new budgets, and the name, amount and thresholds of those that are there; all are whole then."""
    await connection.executemany(
        PUT_BUDGETS,
        [(*budget.key, *budget[1:5], list(budget.thresholds), budget.counts_from) for budget in budgets],
    )


BEGIN_ALL_MONTHS: Final = """
INSERT INTO usage.budget_months (account_id, budget_id, month, spent, reserved)
SELECT account_id, budget_id, month, coalesce(sum(settled_cost) FILTER (WHERE log_id IS NULL), 0),
       coalesce(sum(reservations.amount) FILTER (WHERE is_live), 0)
  FROM usage.reservations JOIN usage.budgets USING (account_id, budget_id)
 GROUP BY 1, 2, 3
"""


async def begin_all_months(connection: Connection) -> None:
    """Begin the months of all budgets with what no record tells: reservations, held or settled by hand.

    For tables that were emptied; the records are to be counted once more.
    """
    await connection.execute(BEGIN_ALL_MONTHS)


ADD_TO_BUDGETS: Final = """
INSERT INTO usage.budget_months AS m (account_id, budget_id, month, spent, reserved, unpriced)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::numeric[], $5::numeric[], $6::bigint[])
ON CONFLICT (account_id, budget_id, month) DO UPDATE SET
    spent = m.spent + excluded.spent, reserved = m.reserved + excluded.reserved,
    unpriced = m.unpriced + excluded.unpriced
RETURNING account_id, budget_id, month, spent, reserved, unpriced, told
"""


async def add_to_budgets(
    connection: Connection, changes: Mapping[MonthOfBudget, Change]
) -> dict[MonthOfBudget, Use]:
    """Add to months of budgets whose locks are held; how far they are used then.

    `reserved` may count reservations that have expired and that nobody has looked at since.
    """
    rows = [(*of.key, of.month, *change) for of, change in changes.items()]
    found = await connection.fetch(ADD_TO_BUDGETS, *_columns(rows))
    return {MonthOfBudget(_key(row), row["month"]): _use(row) for row in found}


TELL: Final = """
UPDATE usage.budget_months SET told = $4 WHERE account_id = $1 AND budget_id = $2 AND month = $3
"""


async def note_told(connection: Connection, of: MonthOfBudget, told: Sequence[Decimal]) -> None:
    """Remember of which thresholds of a month was told."""
    await connection.execute(TELL, *of.key, of.month, list(told))


LIST_USES: Final = f"""
WITH asked AS MATERIALIZED (
    SELECT at, date_trunc('month', at AT TIME ZONE 'UTC')::date AS month
      FROM (SELECT coalesce($2::timestamptz, clock_timestamp())) AS t (at)
)
SELECT {_COLUMNS}, asked.at, asked.month, coalesce(m.spent, 0) AS spent,
       coalesce(m.reserved, 0) - coalesce(expired.amount, 0) AS reserved,
       coalesce(m.unpriced, 0) AS unpriced, coalesce(m.told, '{{}}') AS told
  FROM asked
  CROSS JOIN usage.budgets b
  LEFT JOIN usage.budget_months m
         ON m.account_id = b.account_id AND m.budget_id = b.budget_id AND m.month = asked.month
  LEFT JOIN LATERAL (
      SELECT sum(r.amount) AS amount FROM usage.reservations r
       WHERE r.account_id = b.account_id AND r.budget_id = b.budget_id AND r.month = asked.month
         AND r.is_live AND r.expires_at <= asked.at
  ) AS expired ON true
 WHERE b.account_id = $1 AND b.counting_until IS NULL
 ORDER BY b.budget_id
"""  # noqa: S608 - fixed text alone


async def list_uses(
    connection: Connection, account_id: UUID, at: datetime | None
) -> list[tuple[StoredBudget, date, Use]]:
    """An account's budgets, and how far they are used in the month of an instant, without what has expired.

    Args:
        at: None is now, by the database's clock.
    """
    rows = await connection.fetch(LIST_USES, account_id, at)
    return [(_budget(row), row["month"], _use(row)) for row in rows]


FIND_NOW: Final = "SELECT clock_timestamp()"


async def find_now(connection: Connection, at: datetime | None) -> datetime:
    """An instant; None is now, by the database's clock."""
    now: datetime = await connection.fetchval(FIND_NOW) if at is None else at
    return now


def _key(row: Row) -> BudgetKey:
    return BudgetKey(UUID(int=row["account_id"].int), UUID(int=row["budget_id"].int))


def _budget(row: Row) -> StoredBudget:
    return StoredBudget(
        _key(row),
        row["name"],
        row["scope"],
        row["value"],
        row["amount"],
        tuple(row["thresholds"]),
        row["counts_from"],
        row["counting_until"],
    )


def _use(row: Row) -> Use:
    return Use(row["spent"], row["reserved"], row["unpriced"], tuple(row["told"]))


def _columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
