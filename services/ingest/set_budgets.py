"""Set an account's budgets, all at once, and tell how far they are used."""

from collections.abc import Sequence, Set
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import msgspec

from services.ingest.budget import BudgetKey, StoredBudget
from services.ingest.count_budgets import announce_crossings, tell_crossings
from services.ingest.month import month_of
from services.ingest.own_keys import OwnKeys
from services.ingest.presence import Presence
from services.ingest.store.budgets import (
    MonthOfBudget,
    Use,
    begin_months,
    delete_budgets,
    find_now,
    list_uses,
    lock_to_set_budgets,
    note_told,
    put_budgets,
)
from shared.clock import Clock
from shared.contracts.budgets import Budget, BudgetCrossed, BudgetScope
from shared.errors import Fault, InvalidFieldError
from shared.event_log.port import EventLog
from shared.ids import uuid7
from shared.money import EXACT, ZERO, plain
from shared.postgres import Connection, Database


class Wanted(NamedTuple):
    """One budget as its account wants it.

    Attributes:
        budget_id: None where it is a new one, or one that is known by its scope and value.
        value: empty for the whole account.
        thresholds: ascending.
    """

    budget_id: UUID | None
    name: str
    scope: BudgetScope
    value: str
    amount: Decimal
    thresholds: tuple[Decimal, ...]


class Budgeting:
    """Budgets of accounts, and their use.

    Args:
        database: of the schema `usage`.
        presence: of that database.
        event_log: takes `budgets.crossed`.
        own_keys: tells which keys are an account's own.
        clock: for the events.
        month_clock: tells which month it is; None: the database does, to all processes alike.
    """

    def __init__(
        self,
        *,
        database: Database,
        presence: Presence,
        event_log: EventLog,
        own_keys: OwnKeys,
        clock: Clock,
        month_clock: Clock | None = None,
    ) -> None:
        self._database = database
        self._presence = presence
        self._event_log = event_log
        self._own_keys = own_keys
        self._clock = clock
        self._month_clock = month_clock

    async def list_budgets(self, account_id: UUID) -> list[Budget]:
        """An account's budgets, the oldest first, in the month of now.

        Raises:
            UnavailableError: the database is away.
        """
        return await self._presence.ask(lambda: self._list(account_id))

    async def set_budgets(self, account_id: UUID, wanted: Sequence[Wanted]) -> list[Budget]:
        """Have an account have these budgets and no others: all of them or, where one is wrong, none.

        One that is there keeps its id, and what its month has counted. A new one begins with what the month's
        records have cost so far. Thresholds that are reached at once are told.

        Args:
            account_id: whose budgets.
            wanted: no two of the same scope and value.

        Raises:
            InvalidFieldError: an id is not that of a budget, or of one with another scope or value; or a new
                budget is for a key that is not the account's.
            UnavailableError: auth, the database or the event log is away; nothing was changed.
        """
        key_ids = [UUID(each.value) for each in wanted if each.scope == "key"]
        own = await self._own_keys(account_id, key_ids) if key_ids else set()
        return await self._presence.ask(lambda: self._set(account_id, wanted, own))

    def _now(self) -> datetime | None:
        return None if self._month_clock is None else self._month_clock.now()

    async def _list(self, account_id: UUID) -> list[Budget]:
        async with self._database.connection() as connection:
            uses = await list_uses(connection, account_id, self._now())
        return [_tell(*each) for each in uses]

    async def _set(self, account_id: UUID, wanted: Sequence[Wanted], own: Set[UUID]) -> list[Budget]:
        async with self._database.transaction() as connection:
            there = await lock_to_set_budgets(connection, account_id)
            now = await find_now(connection, self._now())
            month = month_of(now)
            budgets = _match(account_id, there, wanted, own, month)
            known = {budget.key for budget in there}
            gone = known - {budget.key for budget in budgets}
            if gone:
                await delete_budgets(connection, account_id, [key.budget_id for key in gone])
            if budgets:
                await put_budgets(connection, budgets)
            for budget in budgets:
                if budget.key not in known:
                    start_at = datetime(month.year, month.month, 1, tzinfo=UTC)
                    await begin_months(connection, budget, start_at)
            uses = await list_uses(connection, account_id, now)
            crossed: list[BudgetCrossed] = []
            for budget, _, use in uses:
                crossed += await self._tell_crossings(connection, budget, month, use)
            await announce_crossings(self._event_log, crossed)
        return [_tell(*each) for each in uses]

    async def _tell_crossings(
        self, connection: Connection, budget: StoredBudget, month: date, use: Use
    ) -> list[BudgetCrossed]:
        """Of thresholds that are not reached any more, as the amount is another one, is told anew one day."""
        reached = budget.reached(use.spent)
        still = tuple(threshold for threshold in use.told if threshold in reached)
        if still != use.told:
            await note_told(connection, MonthOfBudget(budget.key, month), still)
        now = self._clock.now()
        return await tell_crossings(connection, budget, month, use._replace(told=still), now)


def _match(
    account_id: UUID, there: Sequence[StoredBudget], wanted: Sequence[Wanted], own: Set[UUID], month: date
) -> list[StoredBudget]:
    """The budgets that are wanted, under the ids of those that are there, or under new ones.

    A key never changes its account, so what `own` says still holds.
    """
    by_id = {budget.key.budget_id: budget for budget in there}
    by_matter = {(budget.scope, budget.value): budget for budget in there}
    found: list[StoredBudget] = []
    faults: list[Fault] = []
    for place, each in enumerate(wanted):
        before = by_matter.get((each.scope, each.value))
        if each.budget_id is not None and (before is None or before.key.budget_id != each.budget_id):
            message = (
                "is that of a budget with another scope or value: leave it out to set a new one"
                if each.budget_id in by_id
                else "is not that of a budget of this account"
            )
            faults.append(Fault(f"budgets[{place}].id", message))
        elif before is None and each.scope == "key" and UUID(each.value) not in own:
            faults.append(Fault(f"budgets[{place}].value", "is not the id of a key of this account"))
        key = BudgetKey(account_id, uuid7()) if before is None else before.key
        counts_from = month if before is None else before.counts_from
        found.append(
            StoredBudget(key, each.name, each.scope, each.value, each.amount, each.thresholds, counts_from)
        )
    if faults:
        raise InvalidFieldError.all(faults)
    return found


def _tell(budget: StoredBudget, month: date, use: Use) -> Budget:
    held = EXACT.add(use.spent, use.reserved)
    return Budget(
        id=budget.key.budget_id,
        name=budget.name,
        scope=budget.scope,
        value=budget.value or None,
        amount=_number(budget.amount),
        thresholds=[_number(each) for each in budget.thresholds],
        month=f"{month:%Y-%m}",
        spent=_number(use.spent),
        reserved=_number(use.reserved),
        remaining=_number(max(ZERO, EXACT.subtract(budget.amount, held))),
        crossed=[_number(each) for each in budget.reached(use.spent)],
        unpriced_requests=use.unpriced,
    )


def _number(amount: Decimal) -> msgspec.Raw:
    return msgspec.Raw(plain(amount).encode())
