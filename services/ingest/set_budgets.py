"""Set an account's budgets, all at once, and tell how far they are used."""

import functools
from collections.abc import Sequence, Set
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from services.ingest.budget import BudgetKey, StoredBudget
from services.ingest.count_before import Counted, NewBudgets
from services.ingest.count_budgets import announce_crossings, tell_crossings
from services.ingest.month import month_of
from services.ingest.own_keys import OwnKeys
from services.ingest.presence import Presence
from services.ingest.store.begin_budgets import begin_months
from services.ingest.store.budgets import (
    MonthOfBudget,
    Use,
    add_to_budgets,
    delete_budgets,
    find_now,
    list_uses,
    lock_to_set_budgets,
    note_told,
    put_budgets,
)
from shared.clock import Clock
from shared.contracts.budgets import Budget, BudgetCrossed, BudgetScope
from shared.errors import Fault, InvalidFieldError, UnavailableError
from shared.event_log.port import EventLog
from shared.ids import uuid7
from shared.money import EXACT, ZERO, plain
from shared.postgres import Connection, Database

_TRIES: Final = 10
"""So often budgets are set anew, where others have set some meanwhile."""


class _OvertakenError(Exception):
    """Others have changed budgets between two transactions."""


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


class _Asked(NamedTuple):
    """What an account asks for.

    Attributes:
        own_keys: those of its keys for which it wants budgets.
        new_ids: one for each that is wanted, should it be new; in this order they are listed.
    """

    account_id: UUID
    wanted: Sequence[Wanted]
    own_keys: Set[UUID]
    new_ids: Sequence[UUID]


class Budgeting:
    """Budgets of accounts, and their use.

    Args:
        database: of the schema `usage`.
        presence: of that database.
        event_log: takes `budgets.crossed`.
        own_keys: tells which keys are an account's own.
        clock: for the events.
        slice_records: the most that are looked at in one statement.
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
        slice_records: int,
        month_clock: Clock | None = None,
    ) -> None:
        self._database = database
        self._presence = presence
        self._new_budgets = NewBudgets(database, presence, slice_records)
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
        own: Set[UUID] = await self._own_keys(account_id, key_ids) if key_ids else set()
        for _ in range(_TRIES):
            asked = _Asked(account_id, wanted, own, [uuid7() for _ in wanted])
            new = await self._presence.ask(functools.partial(self._find_new, asked))
            try:
                async with self._new_budgets.count(account_id, new) as counted:
                    return await self._presence.ask(functools.partial(self._set, asked, counted))
            except _OvertakenError:
                continue
        raise UnavailableError("The account's budgets are being set by others at this moment.")

    def _now(self) -> datetime | None:
        return None if self._month_clock is None else self._month_clock.now()

    async def _list(self, account_id: UUID) -> list[Budget]:
        async with self._database.connection() as connection:
            uses = await list_uses(connection, account_id, self._now())
        return [_tell(*each) for each in uses]

    async def _find_new(self, asked: _Asked) -> list[StoredBudget]:
        """Those that would have to be counted from single records, if all stays as it is."""
        async with self._database.connection() as connection:
            there = [budget for budget, _, _ in await list_uses(connection, asked.account_id, None)]
            month = month_of(await find_now(connection, self._now()))
        known = {budget.key for budget in there}
        budgets = _match(asked, there, month)
        return [each for each in budgets if each.scope == "key" and each.key not in known]

    async def _set(self, asked: _Asked, counted: Counted) -> list[Budget]:
        account_id = asked.account_id
        async with self._database.transaction() as connection:
            locked = await lock_to_set_budgets(connection, account_id)
            there = [budget for budget in locked if budget.counting_until is None]
            now = await find_now(connection, self._now())
            month = month_of(now)
            known = {budget.key for budget in there}
            counting = {budget.key: budget for budget in locked if budget.counting_until is not None}
            budgets = _match(asked, there, month)
            if any(each.scope == "key" and each.key not in {*known, *counting} for each in budgets):
                raise _OvertakenError
            gone = known - {budget.key for budget in budgets}
            if gone:
                await delete_budgets(connection, account_id, [key.budget_id for key in gone])
            if budgets:  # those that were counted keep the first month that was
                await put_budgets(connection, budgets)
            for budget in budgets:
                if budget.key not in known and budget.scope != "key":
                    start_at = datetime(month.year, month.month, 1, tzinfo=UTC)
                    await begin_months(connection, budget, start_at)
            kept = {budget.key for budget in budgets}
            before = {of: change for of, change in counted.items() if of.key in kept}
            if before:
                await add_to_budgets(connection, before)
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


def _match(asked: _Asked, there: Sequence[StoredBudget], month: date) -> list[StoredBudget]:
    """The budgets that are wanted, under the ids of those that are there, or under new ones.

    A key never changes its account, so what was said of keys still holds.
    """
    by_id = {budget.key.budget_id: budget for budget in there}
    by_matter = {(budget.scope, budget.value): budget for budget in there}
    found: list[StoredBudget] = []
    faults: list[Fault] = []
    for place, (each, new_id) in enumerate(zip(asked.wanted, asked.new_ids, strict=True)):
        before = by_matter.get((each.scope, each.value))
        if each.budget_id is not None and (before is None or before.key.budget_id != each.budget_id):
            message = (
                "is that of a budget with another scope or value: leave it out to set a new one"
                if each.budget_id in by_id
                else "is not that of a budget of this account"
            )
            faults.append(Fault(f"budgets[{place}].id", message))
        elif before is None and each.scope == "key" and UUID(each.value) not in asked.own_keys:
            faults.append(Fault(f"budgets[{place}].value", "is not the id of a key of this account"))
        key = BudgetKey(asked.account_id, new_id) if before is None else before.key
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
