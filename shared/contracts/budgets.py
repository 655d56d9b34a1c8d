"""Budgets on the wire: the event `budgets.crossed`. Amounts in events are decimal strings in US dollars."""

from typing import Literal
from uuid import UUID

import msgspec

from shared.contracts.usage import Instant

BudgetScope = Literal["account", "key", "origin"]
"""What a budget counts: all records of its account, those of one API key, or those of one origin."""


class BudgetCrossed(msgspec.Struct, frozen=True, kw_only=True):
    """Event `budgets.crossed`: what a budget counts has reached a threshold of its month's amount.

    Attributes:
        event_id: derives from budget, month and threshold, so that a repeat is the same event.
        value: the key's id as text, or the origin; None for the whole account.
        month: YYYY-MM, UTC.
        amount: the budget of the month.
        spent: what its records cost when the threshold was reached; `threshold` times `amount` or more.
        threshold: a share of the amount, such as 0.8.
    """

    v: int = 1
    event_id: UUID
    account_id: UUID
    budget_id: UUID
    name: str
    scope: BudgetScope
    value: str | None
    month: str
    amount: str
    spent: str
    threshold: str
    crossed_at: Instant
