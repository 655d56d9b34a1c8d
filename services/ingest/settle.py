"""Settle a reservation by hand: what it has cost counts, and the rest is free again.

A record that names the reservation settles it as well (`count_budgets`). What the record has cost is the
truth then, whichever comes first, and is counted once.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple, TypeAlias
from uuid import UUID

from services.ingest.budget import BudgetKey
from services.ingest.budget_lines import BudgetLines
from services.ingest.count_budgets import announce_crossings, tell_crossings
from services.ingest.presence import Presence
from services.ingest.reserve import NO_BUDGET
from services.ingest.store.budgets import Change, MonthOfBudget, add_to_budgets, lock_budget
from services.ingest.store.reservations import (
    StoredReservation,
    list_reservations,
    release_expired,
    set_reservations,
)
from shared.clock import Clock
from shared.contracts.budgets import BudgetCrossed
from shared.errors import ConflictError, LLMRingError, NotFoundError
from shared.event_log.port import EventLog
from shared.money import EXACT, ZERO
from shared.postgres import Database


class Settled(NamedTuple):
    """What a reservation has come to.

    Attributes:
        remaining: what is left of its month. It may be below 0.
        replayed: it had been settled so before.
    """

    reservation: StoredReservation
    remaining: Decimal
    replayed: bool


_Said: TypeAlias = tuple[UUID, Decimal]
_Outcome: TypeAlias = Settled | LLMRingError


class Settling:
    """Settles reservations.

    Args:
        database: of the schema `usage`.
        presence: of that database.
        event_log: takes `budgets.crossed`.
        clock: for the events.
        expiry_clock: see `Reserving`.
    """

    def __init__(
        self,
        *,
        database: Database,
        presence: Presence,
        event_log: EventLog,
        clock: Clock,
        expiry_clock: Clock | None = None,
    ) -> None:
        self._database = database
        self._presence = presence
        self._event_log = event_log
        self._clock = clock
        self._expiry_clock = expiry_clock
        self._lines: BudgetLines[_Said, _Outcome] = BudgetLines(self._settle_within_reason)

    async def settle(self, key: BudgetKey, reservation_id: UUID, cost: Decimal) -> Settled:
        """Say what a reservation has cost; 0 gives it back. It may have expired: then it counts all the same.

        Raises:
            NotFoundError: there is no such budget, or it has no such reservation.
            ConflictError: it was settled by hand with another cost.
            UnavailableError: the database or the event log is away; it is safe to try again.
        """
        outcome = await self._lines.submit(key, (reservation_id, cost))
        if isinstance(outcome, LLMRingError):
            raise outcome
        return outcome

    async def _settle_within_reason(self, key: BudgetKey, said: Sequence[_Said]) -> Sequence[_Outcome]:
        return await self._presence.ask(lambda: self._settle(key, said))

    async def _settle(self, key: BudgetKey, said: Sequence[_Said]) -> Sequence[_Outcome]:
        now = None if self._expiry_clock is None else self._expiry_clock.now()
        async with self._database.transaction() as connection:
            budget = await lock_budget(connection, key)
            if budget is None:
                raise NotFoundError(NO_BUDGET)
            names = {(key, reservation_id) for reservation_id, _ in said}
            count = _Count(await list_reservations(connection, names))
            outcomes = [count.settle(reservation_id, cost) for reservation_id, cost in said]
            if count.settled:
                await set_reservations(connection, list(count.settled.values()))
            remaining: dict[date, Decimal] = {}
            crossed: list[BudgetCrossed] = []
            for month, change in count.changes.items():
                freed = await release_expired(connection, key, month, now)
                of = MonthOfBudget(key, month)
                added = change._replace(reserved=EXACT.subtract(change.reserved, freed))
                use = (await add_to_budgets(connection, {of: added}))[of]
                crossed += await tell_crossings(connection, budget, month, use, self._clock.now())
                remaining[month] = EXACT.subtract(budget.amount, EXACT.add(use.spent, use.reserved))
            await announce_crossings(self._event_log, crossed)
        return [
            outcome
            if isinstance(outcome, LLMRingError)
            else Settled(outcome[0], remaining[outcome[0].month], replayed=outcome[1])
            for outcome in outcomes
        ]


class _Count:
    """What some settlements change, one after the other.

    Args:
        found: the reservations that they name, as far as there are such.

    Attributes:
        settled: those that are changed, as they are then.
        changes: what is added to each month that they are of, even if that is nothing.
    """

    def __init__(self, found: Sequence[StoredReservation]) -> None:
        self._known = {each.reservation_id: each for each in found}
        self.settled: dict[UUID, StoredReservation] = {}
        self.changes = {each.month: Change(ZERO, ZERO, 0) for each in found}

    def settle(
        self, reservation_id: UUID, cost: Decimal
    ) -> tuple[StoredReservation, bool] | NotFoundError | ConflictError:
        """What the reservation is then, and whether it was that before; or why it cannot be settled so."""
        before = self._known.get(reservation_id)
        if before is None:
            return NotFoundError("The budget has no such reservation.")
        if before.settled_cost is not None:
            if before.settled_cost != cost:
                return ConflictError("The reservation was settled with another cost before.")
            return before, True
        after = before._replace(settled_cost=cost, is_live=False)
        self._known[reservation_id] = self.settled[reservation_id] = after
        change = self.changes[before.month]
        self.changes[before.month] = change._replace(
            spent=EXACT.add(change.spent, EXACT.subtract(after.cost or ZERO, before.cost or ZERO)),
            reserved=EXACT.subtract(change.reserved, before.amount if before.is_live else ZERO),
        )
        return after, False
