"""Those who wait for one budget in this process go together, in the order in which they came.

Whoever decides about a budget has its lock to itself until a commit is on disk. So a decision for many costs
what one for one does, and a budget that many ask for takes up one connection of each process.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from services.ingest.budget import BudgetKey
from shared.coalescer import Coalescer

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Line(Generic[Item, Result]):
    def __init__(self, coalescer: Coalescer[Item, Result]) -> None:
        self.coalescer = coalescer
        self.waiting = 0


class BudgetLines(Generic[Item, Result]):
    """One line for each budget that somebody waits for.

    Args:
        decide: about many items at once: one result for each, in their order.
    """

    def __init__(self, decide: Callable[[BudgetKey, Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._decide = decide
        self._lines: dict[BudgetKey, _Line[Item, Result]] = {}

    async def submit(self, budget: BudgetKey, item: Item) -> Result:
        """Wait in a budget's line. What `decide` raises reaches all those it was to decide about."""
        line = self._lines.get(budget)
        if line is None:

            async def decide(items: Sequence[Item]) -> Sequence[Result]:
                return await self._decide(budget, items)

            line = self._lines[budget] = _Line(Coalescer(decide))
        line.waiting += 1
        try:
            return await line.coalescer.submit(item)
        finally:
            line.waiting -= 1
            if line.waiting == 0:
                self._lines.pop(budget, None)
