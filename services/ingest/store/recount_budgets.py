"""What budgets must have counted, by the records and reservations that are there now."""

from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from shared.postgres import Connection

_FETCHED_AT_ONCE: Final = 1_000


class BudgetFound(NamedTuple):
    """One month of a budget: spent, reserved, and records without a cost, as they must be and as they are."""

    account_id: UUID
    budget_id: UUID
    month: date
    due: tuple[Decimal, Decimal, int]
    found: tuple[Decimal, Decimal, int]


# A record that has settled a reservation of the budget counts there. Where records or reservations of a month
# were deleted, the others do not tell what the budget must have counted.
LIST_WRONG_BUDGETS: Final = """
WITH months AS (
    SELECT b.account_id, b.budget_id, b.scope, b.value, m.month,
           m.month::timestamp AT TIME ZONE 'UTC' AS starts_at,
           (m.month + interval '1 month') AT TIME ZONE 'UTC' AS ends_at
      FROM usage.budgets b
      CROSS JOIN LATERAL (
          SELECT own.month FROM usage.budget_months own
           WHERE own.account_id = b.account_id AND own.budget_id = b.budget_id
           UNION
          SELECT date_trunc('month', r.bucket_at AT TIME ZONE 'UTC')::date FROM usage.rollups r
           WHERE r.account_id = b.account_id AND r.grain = 'd'
             AND r.bucket_at >= b.counts_from::timestamp AT TIME ZONE 'UTC'
      ) AS m
     WHERE b.counting_until IS NULL
), due AS (
    SELECT m.account_id, m.budget_id, m.month, records.spent + held.spent AS spent, held.reserved,
           records.unpriced
      FROM months m
      CROSS JOIN LATERAL (
          SELECT coalesce(sum(l.cost) FILTER (WHERE l.reservation_id IS NULL OR NOT EXISTS (
                     SELECT FROM usage.reservations r
                      WHERE r.account_id = m.account_id AND r.budget_id = m.budget_id
                        AND r.reservation_id = l.reservation_id AND r.log_id = l.log_id)), 0) AS spent,
                 count(*) - count(l.cost) AS unpriced
            FROM usage.logs l
           WHERE l.account_id = m.account_id AND l.occurred_at >= m.starts_at AND l.occurred_at < m.ends_at
             AND CASE m.scope WHEN 'key' THEN l.key_id::text = m.value
                 WHEN 'origin' THEN l.origin = m.value ELSE true END
      ) AS records
      CROSS JOIN LATERAL (
          SELECT coalesce(sum(coalesce(r.record_cost, r.settled_cost)), 0) AS spent,
                 coalesce(sum(r.amount) FILTER (WHERE r.is_live), 0) AS reserved
            FROM usage.reservations r
           WHERE r.account_id = m.account_id AND r.budget_id = m.budget_id AND r.month = m.month
      ) AS held
     WHERE NOT EXISTS (SELECT FROM usage.retention t
                        WHERE t.account_id = m.account_id AND m.starts_at < t.deleted_before)
)
SELECT account_id, budget_id, month, due.spent AS due_spent, due.reserved AS due_reserved,
       due.unpriced AS due_unpriced, coalesce(found.spent, 0) AS spent,
       coalesce(found.reserved, 0) AS reserved, coalesce(found.unpriced, 0) AS unpriced
  FROM due LEFT JOIN usage.budget_months found USING (account_id, budget_id, month)
 WHERE NOT coalesce(found.forgotten, false) AND (due.spent, due.reserved, due.unpriced)
       IS DISTINCT FROM (coalesce(found.spent, 0), coalesce(found.reserved, 0), coalesce(found.unpriced, 0))
"""


async def list_wrong_budgets(connection: Connection) -> AsyncIterator[BudgetFound]:
    """The months of budgets that are not what is there adds up to, inside a transaction."""
    cursor = await connection.cursor(LIST_WRONG_BUDGETS)
    while rows := await cursor.fetch(_FETCHED_AT_ONCE):
        for account_id, budget_id, month, *sums in rows:
            due, found = tuple(sums[:3]), tuple(sums[3:])
            yield BudgetFound(UUID(int=account_id.int), UUID(int=budget_id.int), month, due, found)
