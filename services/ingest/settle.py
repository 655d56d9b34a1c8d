"""Settle a reservation by hand: what it has cost counts, and the rest is free again.

A record that names the reservation settles it as well (`count_budgets`). What the record has cost is the
truth then, whichever comes first, and is counted once.
"""

from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from services.ingest.budget import BudgetKey
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
from shared.errors import ConflictError, NotFoundError
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

    async def settle(self, key: BudgetKey, reservation_id: UUID, cost: Decimal) -> Settled:
        """Say what a reservation has cost; 0 gives it back. It may have expired: then it counts all the same.

        Raises:
            NotFoundError: there is no such budget, or it has no such reservation.
            ConflictError: it was settled by hand with another cost.
            UnavailableError: the database or the event log is away; it is safe to try again.
        """
        return await self._presence.ask(lambda: self._settle(key, reservation_id, cost))

    async def _settle(self, key: BudgetKey, reservation_id: UUID, cost: Decimal) -> Settled:
        now = None if self._expiry_clock is None else self._expiry_clock.now()
        async with self._database.transaction() as connection:
            budget = await lock_budget(connection, key)
            if budget is None:
                raise NotFoundError(NO_BUDGET)
            found = await list_reservations(connection, [(key, reservation_id)])
            if not found:
                raise NotFoundError("The budget has no such reservation.")
            [before] = found
            if before.settled_cost not in (None, cost):
                raise ConflictError("The reservation was settled with another cost before.")
            after = before._replace(settled_cost=cost, is_live=False)
            await set_reservations(connection, [after])
            freed = await release_expired(connection, key, before.month, now)
            if before.is_live:
                freed = EXACT.add(freed, before.amount)
            spent = EXACT.subtract(after.cost or ZERO, before.cost or ZERO)
            of = MonthOfBudget(key, before.month)
            use = (await add_to_budgets(connection, {of: Change(spent, -freed, 0)}))[of]
            crossed = await tell_crossings(connection, budget, before.month, use, self._clock.now())
            await announce_crossings(self._event_log, crossed)
        remaining = EXACT.subtract(budget.amount, EXACT.add(use.spent, use.reserved))
        return Settled(after, remaining, replayed=before.settled_cost is not None)
