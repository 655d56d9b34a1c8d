"""A monthly budget, which records it counts, and when it has reached its thresholds: pure."""

from collections.abc import Collection
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from services.ingest.month import month_of
from shared.contracts.budgets import BudgetCrossed, BudgetScope
from shared.contracts.usage import UsageLogged
from shared.money import EXACT, plain

_CROSSINGS: Final = UUID("c3a0a1f6-0c0e-5d0b-8d53-9a7c58a4f6f2")


class BudgetKey(NamedTuple):
    """What a budget is known by."""

    account_id: UUID
    budget_id: UUID


class StoredBudget(NamedTuple):
    """A budget as its account set it.

    Attributes:
        value: the key's id, or the origin; empty for the whole account.
        amount: for each month, in US dollars.
        thresholds: shares of the amount, ascending.
        counts_from: the first month that it counts.
        counting_until: it is being made, and only raters see it; None where it is whole.
    """

    key: BudgetKey
    name: str
    scope: BudgetScope
    value: str
    amount: Decimal
    thresholds: tuple[Decimal, ...]
    counts_from: date
    counting_until: datetime | None = None

    def counts(self, event: UsageLogged) -> bool:
        """Whether a record is one of those that it counts, in the month of the record's own time."""
        if self.scope == "key":
            matches = self.value == str(event.key_id)
        else:
            matches = self.scope == "account" or self.value == event.origin
        return matches and month_of(event.occurred_at) >= self.counts_from

    def reached(self, spent: Decimal) -> tuple[Decimal, ...]:
        """The thresholds that a sum has reached."""
        return tuple(each for each in self.thresholds if EXACT.multiply(each, self.amount) <= spent)


class Wish(NamedTuple):
    """A part of a budget that somebody wants to hold."""

    reservation_id: UUID
    amount: Decimal
    lifetime: timedelta


def find_crossings(
    budget: StoredBudget, month: date, spent: Decimal, told: Collection[Decimal], now: datetime
) -> list[BudgetCrossed]:
    """What is to be told of a budget: each threshold that is reached and of which nothing was told yet.

    Args:
        budget: as it is set now.
        month: the first day of the month that was counted.
        spent: what was counted of it.
        told: thresholds of which it was told, with this amount.
        now: for `crossed_at`.
    """
    key, amount = budget.key, plain(budget.amount)
    return [
        BudgetCrossed(
            event_id=uuid5(_CROSSINGS, f"{key.budget_id}:{month:%Y-%m}:{amount}:{plain(threshold)}"),
            account_id=key.account_id,
            budget_id=key.budget_id,
            name=budget.name,
            scope=budget.scope,
            value=budget.value or None,
            month=f"{month:%Y-%m}",
            amount=amount,
            spent=plain(spent),
            threshold=plain(threshold),
            crossed_at=now,
        )
        for threshold in budget.reached(spent)
        if threshold not in told
    ]
