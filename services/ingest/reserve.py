"""Reserve parts of a budget, so that callers who do so never spend more than it together.

Postgres decides, one wish at a time for each budget and for all processes, in one statement: what is spent,
what is held and what is wished must not be more than the amount. Without Postgres nothing is granted.
"""

from collections.abc import Sequence
from typing import Final

from services.ingest.budget import BudgetKey, Wish
from services.ingest.budget_lines import BudgetLines
from services.ingest.presence import Presence
from services.ingest.store.reservations import Decision, reserve
from shared.clock import Clock
from shared.errors import BudgetExceededError, InvalidFieldError, NotFoundError
from shared.money import ZERO, plain
from shared.postgres import Database
from shared.telemetry.metrics import RESERVATIONS

NO_BUDGET: Final = "There is no such budget."


class Reserving:
    """Decides on reservations.

    Args:
        database: of the schema `usage`.
        presence: of that database.
        clock: tells when reservations expire; None: the database does, to all processes alike.
    """

    def __init__(self, database: Database, presence: Presence, clock: Clock | None = None) -> None:
        self._database = database
        self._presence = presence
        self._clock = clock
        self._lines: BudgetLines[Wish, Decision] = BudgetLines(self._decide_within_reason)

    async def reserve(self, budget: BudgetKey, wish: Wish) -> Decision:
        """Hold a part of what is left of a budget's month. A repeat, by its name, is the same reservation.

        Raises:
            NotFoundError: there is no such budget.
            BudgetExceededError: not so much is left; nothing is held.
            InvalidFieldError: the name stands for a reservation of another amount.
            UnavailableError: the database is away. Should the wish have reached it all the same, it is held
                until it expires.
        """
        decision = await self._lines.submit(budget, wish)
        RESERVATIONS.labels(decision.outcome).inc()
        if decision.outcome == "refused":
            left = max(ZERO, decision.remaining)
            raise BudgetExceededError(
                f"The budget has {plain(left)} US dollars left for this month, and {plain(wish.amount)} were"
                " to be reserved.",
                remaining=left,
            )
        if decision.amount != wish.amount:
            raise InvalidFieldError.of("reservation_id", "was used before with another amount")
        return decision

    async def _decide_within_reason(self, budget: BudgetKey, wishes: Sequence[Wish]) -> Sequence[Decision]:
        return await self._presence.ask(lambda: self._decide(budget, wishes))

    async def _decide(self, budget: BudgetKey, wishes: Sequence[Wish]) -> Sequence[Decision]:
        now = None if self._clock is None else self._clock.now()
        async with self._database.connection() as connection:
            decisions = await reserve(connection, budget, wishes, now)
        if not decisions:
            raise NotFoundError(NO_BUDGET)
        return decisions
