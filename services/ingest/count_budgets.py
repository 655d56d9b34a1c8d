"""Count the records of a slice in their account's budgets, in the rater's transaction.

A record counts with its cost in every budget that it matches, in the month of its own time. A reservation
that it names is settled by it: then the cost counts in that budget in the reservation's month, in place of
what was held there, and not once more. Which budgets there are is read under a lock for which those wait who
set budgets, and nobody else.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import msgspec

from services.ingest.budget import BudgetKey, StoredBudget, find_crossings
from services.ingest.month import month_of
from services.ingest.store.budgets import (
    Change,
    MonthOfBudget,
    Use,
    add_to_budgets,
    list_budgets_to_count,
    lock_budgets,
    note_told,
)
from services.ingest.store.reservations import StoredReservation, list_reservations, set_reservations
from shared.contracts.budgets import BudgetCrossed
from shared.contracts.topics import BUDGETS_CROSSED
from shared.contracts.usage import UsageLogged
from shared.event_log.port import EventLog, Record
from shared.money import EXACT, ZERO
from shared.postgres import Connection

_encoder = msgspec.json.Encoder()
_NOTHING: Final = Change(ZERO, ZERO, 0)


async def count_budgets(
    connection: Connection, new: Sequence[UsageLogged], late: Sequence[UsageLogged], now: datetime
) -> list[BudgetCrossed]:
    """Count records, and tell which thresholds they have reached.

    Args:
        connection: of the transaction that stored them. Whoever reserves waits from here on until its end, so
            this comes last.
        new: records that were not stored before.
        late: records that were counted without a cost before, and have one now.
        now: for the events.
    """
    budgets: dict[UUID, list[StoredBudget]] = {}
    account_ids = {event.account_id for event in (*new, *late)}
    if account_ids:
        for budget in await list_budgets_to_count(connection, account_ids):
            budgets.setdefault(budget.key.account_id, []).append(budget)
    if not budgets:
        return []
    count = _Count(budgets)
    await count.take_reservations(connection, (*new, *late))
    for event in new:
        count.add(event, unpriced=1 if event.cost is None else 0)
    for event in late:
        count.add(event, unpriced=-1)
    return await count.store(connection, now)


class _Count:
    """What a slice adds to budgets.

    Args:
        budgets: by account, of all accounts that have any.
    """

    def __init__(self, budgets: dict[UUID, list[StoredBudget]]) -> None:
        self._budgets = budgets
        self._changes: dict[MonthOfBudget, Change] = {}
        self._reservations: dict[tuple[UUID, UUID], list[StoredReservation]] = {}
        self._settled: list[StoredReservation] = []

    async def take_reservations(self, connection: Connection, events: Iterable[UsageLogged]) -> None:
        """Lock the budgets that events count in, and read the reservations that they name."""
        keys: set[BudgetKey] = set()
        names: set[tuple[BudgetKey, UUID]] = set()
        for event in events:
            for budget in self._budgets.get(event.account_id, ()):
                if event.reservation_id is not None and event.cost is not None:
                    names.add((budget.key, event.reservation_id))
                    keys.add(budget.key)
                elif budget.counts(event):
                    keys.add(budget.key)
        if keys:
            await lock_budgets(connection, keys)
        if names:
            for each in await list_reservations(connection, names):
                place = each.budget.account_id, each.reservation_id
                self._reservations.setdefault(place, []).append(each)

    def add(self, event: UsageLogged, *, unpriced: int) -> None:
        """Count one record.

        Args:
            event: with its cost.
            unpriced: how many records without a cost there are more of, or fewer.
        """
        settled = self._settle(event)
        for budget in self._budgets.get(event.account_id, ()):
            if budget.counts(event):
                cost = ZERO if event.cost is None or budget.key in settled else Decimal(event.cost)
                self._add(MonthOfBudget(budget.key, month_of(event.occurred_at)), cost, ZERO, unpriced)

    def _settle(self, event: UsageLogged) -> set[BudgetKey]:
        """Settle the reservations that a record names; in which budgets. The first record of each does."""
        settled: set[BudgetKey] = set()
        if event.reservation_id is None or event.cost is None:
            return settled
        cost = Decimal(event.cost)
        waiting = self._reservations.get((event.account_id, event.reservation_id), [])
        for each in [each for each in waiting if each.log_id in (None, event.log_id)]:
            waiting.remove(each)
            # With its log id it was counted before the tables were emptied, and comes once more.
            before = (each.settled_cost or ZERO) if each.log_id is None else ZERO
            reserved = each.amount if each.is_live else ZERO
            self._add(
                MonthOfBudget(each.budget, each.month), EXACT.subtract(cost, before), -reserved, unpriced=0
            )
            self._settled.append(each._replace(is_live=False, record_cost=cost, log_id=event.log_id))
            settled.add(each.budget)
        return settled

    def _add(self, of: MonthOfBudget, spent: Decimal, reserved: Decimal, unpriced: int) -> None:
        before = self._changes.get(of, _NOTHING)
        self._changes[of] = Change(
            EXACT.add(before.spent, spent), EXACT.add(before.reserved, reserved), before.unpriced + unpriced
        )

    async def store(self, connection: Connection, now: datetime) -> list[BudgetCrossed]:
        """Add it all up in the tables; which thresholds are reached with that."""
        if not self._changes:
            return []
        if self._settled:
            await set_reservations(connection, self._settled)
        uses = await add_to_budgets(connection, self._changes)
        by_key = {budget.key: budget for each in self._budgets.values() for budget in each}
        crossed: list[BudgetCrossed] = []
        for of, use in uses.items():
            crossed += await tell_crossings(connection, by_key[of.key], of.month, use, now)
        return crossed


async def tell_crossings(
    connection: Connection, budget: StoredBudget, month: date, use: Use, now: datetime
) -> list[BudgetCrossed]:
    """The events for thresholds that a month has reached and of which nothing was told; that is noted.

    Args:
        connection: of the transaction that counted; `announce_crossings` comes before its end.
        budget: whose lock is held.
        month: which was counted.
        use: how far it is used.
        now: for the events.
    """
    crossed = find_crossings(budget, month, use.spent, use.told, now)
    if crossed:
        told = sorted({*use.told, *budget.reached(use.spent)})
        await note_told(connection, MonthOfBudget(budget.key, month), told)
    return crossed


async def announce_crossings(event_log: EventLog, crossed: Sequence[BudgetCrossed]) -> None:
    """Append events, before the commit of what they tell: after it, a crash in between would lose them.

    Raises:
        UnavailableError: the event log is away.
    """
    if crossed:
        records = [Record(str(each.account_id).encode(), _encoder.encode(each)) for each in crossed]
        await event_log.append(BUDGETS_CROSSED, records)
