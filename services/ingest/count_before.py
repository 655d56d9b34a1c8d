"""Count for new budgets by key what is stored already, while raters go on.

Who makes such a budget takes the account's lock for a moment. In it the budget is put where raters see it,
and nobody else, and a view of the database is taken. What was stored before is in that view, and is counted
from there at leisure, a slice at a time. What is stored later its rater counts in the budget, since it takes
the lock after storing. So each record is counted once, and both together are what the month has cost.
"""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from services.ingest.budget import StoredBudget
from services.ingest.presence import Presence
from services.ingest.store.begin_budgets import Place, discard_counting, insert_counting, sum_slice
from services.ingest.store.budgets import Change, MonthOfBudget, lock_to_set_budgets
from shared.errors import UnavailableError
from shared.money import EXACT, ZERO
from shared.postgres import Connection, Database, open_snapshot

COUNT_WITHIN: Final = timedelta(minutes=10)
"""After this whoever counts is taken for dead."""

VIEWS: Final = 2
"""At once in one process, each with a connection of its own."""

_TURN_WITHIN_S: Final = 10.0
_BEFORE: Final = timedelta(microseconds=1)
_LAST_ID: Final = UUID(int=2**128 - 1)
_NOTHING: Final = Change(ZERO, ZERO, 0)
_log = logging.getLogger(__name__)


Counted = Mapping[MonthOfBudget, Change]
"""What the months of budgets that are being made had cost before raters saw them."""


class NewBudgets:
    """Counts for budgets that are being made.

    Args:
        database: of the schema `usage`.
        presence: of that database.
        slice_records: the most that are looked at in one statement.
    """

    def __init__(self, database: Database, presence: Presence, slice_records: int) -> None:
        self._database = database
        self._presence = presence
        self._slice_records = slice_records
        self._views = asyncio.Semaphore(VIEWS)

    @asynccontextmanager
    async def count(self, account_id: UUID, new: Sequence[StoredBudget]) -> AsyncIterator[Counted]:
        """What they had cost so far, for a block that makes them whole; else they are gone after it.

        Args:
            account_id: whose budgets.
            new: by key, of one month.

        Raises:
            UnavailableError: the database is away, or has others to count for. What may be left behind is
                deleted by the next who sets budgets of the account.
        """
        if not new:
            yield {}
            return
        try:
            yield await self._count(account_id, new)
        finally:
            await self._discard(account_id, [each.key.budget_id for each in new])

    async def _count(self, account_id: UUID, new: Sequence[StoredBudget]) -> dict[MonthOfBudget, Change]:
        keys = {UUID(each.value): each.key for each in new}
        month = new[0].counts_from
        after: Place | None = Place(datetime(month.year, month.month, 1, tzinfo=UTC) - _BEFORE, _LAST_ID)
        sums: dict[MonthOfBudget, Change] = {}
        async with AsyncExitStack() as stack:
            await self._wait_for_turn(stack)
            view = await self._presence.ask(lambda: self._begin(stack, account_id, new))
            while after is not None:
                after, found = await self._presence.ask(
                    functools.partial(sum_slice, view, account_id, after, self._slice_records, list(keys))
                )
                for each in found:
                    of = MonthOfBudget(keys[each.key_id], each.month)
                    before = sums.get(of, _NOTHING)
                    spent = EXACT.add(before.spent, each.spent)
                    sums[of] = Change(spent, ZERO, before.unpriced + each.unpriced)
        return sums

    async def _wait_for_turn(self, stack: AsyncExitStack) -> None:
        try:
            async with asyncio.timeout(_TURN_WITHIN_S):
                await stack.enter_async_context(self._views)
        except TimeoutError:
            raise UnavailableError("Others' budgets are being counted at this moment.") from None

    async def _begin(
        self, stack: AsyncExitStack, account_id: UUID, new: Sequence[StoredBudget]
    ) -> Connection:
        """Have raters count from here on; the database as it was until here."""
        view = await stack.enter_async_context(
            open_snapshot(self._database.url, application_name="llmring-new-budgets")
        )
        async with self._database.transaction() as connection:
            await lock_to_set_budgets(connection, account_id)
            await insert_counting(connection, new, COUNT_WITHIN)
            await view.execute("SELECT 1")  # its first statement: from now on it sees nothing new
        return view

    async def _discard(self, account_id: UUID, ids: Sequence[UUID]) -> None:
        """Leave nothing behind of what was not made whole."""

        async def discard() -> None:
            async with self._database.transaction() as connection:
                await lock_to_set_budgets(connection, account_id)
                await discard_counting(connection, account_id, ids)

        try:
            await self._presence.ask(discard)
        except UnavailableError as error:
            _log.warning("budgets that were not made are left to the next who sets some: %s", error.detail)
