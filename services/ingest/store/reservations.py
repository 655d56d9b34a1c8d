"""The table of reservations, whose changes need the lock of their budget (see `store.budgets`)."""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Literal, NamedTuple
from uuid import UUID

from services.ingest.budget import BudgetKey, Wish
from shared.postgres import Connection, Row


class Decision(NamedTuple):
    """What came of a wish.

    Attributes:
        outcome: `found`: there is a reservation of this name; what it holds may differ from what was wished.
        amount: what is held, or would be.
        expires_at: until when.
        remaining: what is left of the month, with that taken off. It may be below 0.
    """

    outcome: Literal["granted", "refused", "found"]
    amount: Decimal
    expires_at: datetime
    remaining: Decimal


RESERVE: Final = """
SELECT outcome, held, lapses_at, remaining
  FROM usage.reserve($1, $2, $3::uuid[], $4::numeric[], $5::interval[], $6::timestamptz)
"""


async def reserve(
    connection: Connection, budget: BudgetKey, wishes: Sequence[Wish], at: datetime | None
) -> list[Decision]:
    """Decide on wishes, one after the other, in one transaction of its own; nothing where there is no budget.

    Args:
        budget: takes the lock itself, so it has to be the statement of a connection outside of transactions.
        at: None is now, by the database's clock, and after the lock was taken.
    """
    rows = await connection.fetch(RESERVE, *budget, *(list(each) for each in zip(*wishes, strict=True)), at)
    return [Decision(*row.values()) for row in rows]


class StoredReservation(NamedTuple):
    """A reservation of a budget.

    Attributes:
        month: whose budget it holds a part of.
        is_live: its amount is among what is reserved.
        settled_cost: what its holder said that it has cost.
        record_cost: what the record that names it has cost; that of `log_id`.
    """

    budget: BudgetKey
    reservation_id: UUID
    month: date
    amount: Decimal
    is_live: bool
    settled_cost: Decimal | None
    record_cost: Decimal | None
    log_id: UUID | None

    @property
    def cost(self) -> Decimal | None:
        """What counts; None while nobody knows."""
        return self.settled_cost if self.record_cost is None else self.record_cost


LIST_RESERVATIONS: Final = """
SELECT r.account_id, r.budget_id, r.reservation_id, r.month, r.amount, r.is_live, r.settled_cost,
       r.record_cost, r.log_id
  FROM usage.reservations r
  JOIN unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS asked (account_id, budget_id, reservation_id)
       USING (account_id, budget_id, reservation_id)
"""


async def list_reservations(
    connection: Connection, names: Collection[tuple[BudgetKey, UUID]]
) -> list[StoredReservation]:
    """Those of some names that are reservations."""
    rows = [(*budget, reservation_id) for budget, reservation_id in names]
    return [_reservation(row) for row in await connection.fetch(LIST_RESERVATIONS, *_columns(rows))]


RELEASE_EXPIRED: Final = """
WITH expired AS (
    UPDATE usage.reservations SET is_live = false
     WHERE account_id = $1 AND budget_id = $2 AND month = $3
       AND is_live AND expires_at <= coalesce($4::timestamptz, clock_timestamp())
    RETURNING amount
)
SELECT coalesce(sum(amount), 0) FROM expired
"""


async def release_expired(
    connection: Connection, budget: BudgetKey, month: date, at: datetime | None
) -> Decimal:
    """Let reservations of a month go whose time is over; what they held together.

    Args:
        at: None is now, by the database's clock.
    """
    freed: Decimal = await connection.fetchval(RELEASE_EXPIRED, *budget, month, at)
    return freed


SET_RESERVATIONS: Final = """
UPDATE usage.reservations r SET
    is_live = false, settled_cost = s.settled_cost, record_cost = s.record_cost, log_id = s.log_id
  FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::numeric[], $5::numeric[], $6::uuid[])
       AS s (account_id, budget_id, reservation_id, settled_cost, record_cost, log_id)
 WHERE r.account_id = s.account_id AND r.budget_id = s.budget_id AND r.reservation_id = s.reservation_id
"""


async def set_reservations(connection: Connection, settled: Collection[StoredReservation]) -> None:
    """Store what reservations have cost; none of them holds anything any more."""
    rows = [
        (*each.budget, each.reservation_id, each.settled_cost, each.record_cost, each.log_id)
        for each in settled
    ]
    await connection.execute(SET_RESERVATIONS, *_columns(rows))


DELETE_OLD_RESERVATIONS: Final = """
WITH old AS (
    SELECT r.account_id, r.budget_id, r.reservation_id
      FROM usage.removed_budget_months JOIN usage.reservations r USING (account_id, budget_id, month)
     UNION ALL
    SELECT r.account_id, r.budget_id, r.reservation_id
      FROM usage.budget_months m JOIN usage.reservations r USING (account_id, budget_id, month)
     WHERE m.month < $1 AND NOT m.forgotten
     LIMIT $2
), gone AS (
    DELETE FROM usage.reservations r USING old
     WHERE r.account_id = old.account_id AND r.budget_id = old.budget_id
       AND r.reservation_id = old.reservation_id
    RETURNING 1
)
SELECT count(*) FROM gone
"""
NOTE_FORGOTTEN: Final = "UPDATE usage.budget_months SET forgotten = true WHERE month < $1 AND NOT forgotten"
FORGET_REMOVED: Final = """
DELETE FROM usage.removed_budget_months m
 WHERE NOT EXISTS (SELECT FROM usage.reservations r
                    WHERE r.account_id = m.account_id AND r.budget_id = m.budget_id AND r.month = m.month)
"""


async def delete_old_reservations(connection: Connection, before: date, limit: int) -> int:
    """Delete reservations of months before one, and of budgets that were removed; how many.

    With the last of them it is noted that there are none.
    """
    count = int(await connection.fetchval(DELETE_OLD_RESERVATIONS, before, limit))
    if count < limit:
        await connection.execute(NOTE_FORGOTTEN, before)
        await connection.execute(FORGET_REMOVED)
    return count


def _reservation(row: Row) -> StoredReservation:
    log_id = row["log_id"]
    return StoredReservation(
        BudgetKey(UUID(int=row["account_id"].int), UUID(int=row["budget_id"].int)),
        UUID(int=row["reservation_id"].int),
        row["month"],
        row["amount"],
        row["is_live"],
        row["settled_cost"],
        row["record_cost"],
        None if log_id is None else UUID(int=log_id.int),
    )


def _columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
