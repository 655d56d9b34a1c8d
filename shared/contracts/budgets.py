"""Budgets on the wire: what is asked and answered, and the event `budgets.crossed`.

Amounts in requests and answers are plain JSON numbers in US dollars, in events decimal strings.
"""

from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

from shared.contracts.usage import (
    ABSENT,
    MAX_COST_USD,
    Instant,
    Name,
    Text,
    UsdNumber,
)

MAX_BUDGETS: Final = 100
MAX_BUDGET_USD: Final = 1_000_000_000
MAX_THRESHOLDS: Final = 10
MAX_THRESHOLD: Final = 10
MAX_RESERVED_S: Final = 86_400
DEFAULT_RESERVED_S: Final = 600

BudgetScope = Literal["account", "key", "origin"]
"""What a budget counts: all records of its account, those of one API key, or those of one origin."""

BudgetUsd = Annotated[
    msgspec.Raw,
    msgspec.Meta(extra_json_schema={"type": "number", "exclusiveMinimum": 0, "maximum": MAX_BUDGET_USD}),
]
Share = Annotated[
    msgspec.Raw,
    msgspec.Meta(extra_json_schema={"type": "number", "exclusiveMinimum": 0, "maximum": MAX_THRESHOLD}),
]
CostOrNull = Annotated[
    msgspec.Raw,
    msgspec.Meta(extra_json_schema={"type": ["number", "null"], "minimum": 0, "maximum": MAX_COST_USD}),
]


class BudgetEntry(msgspec.Struct, kw_only=True):
    """One budget as its account sets it.

    Attributes:
        id: of a budget that is there. One with the same scope and value is the same budget without it, too.
        value: the key's id, or the origin; nothing for the whole account.
        amount: for each calendar month, UTC.
        thresholds: shares of the amount of which to be told when they are reached; by default 0.5, 0.8 and 1.
    """

    name: Name
    scope: BudgetScope
    amount: BudgetUsd
    id: UUID | None = None
    value: Text | None = None
    thresholds: Annotated[list[Share], msgspec.Meta(max_length=MAX_THRESHOLDS)] | None = None


class BudgetList(msgspec.Struct):
    """`PUT /api/v1/budgets`: all budgets of the account from now on."""

    budgets: Annotated[list[BudgetEntry], msgspec.Meta(max_length=MAX_BUDGETS)]


class Budget(msgspec.Struct, kw_only=True):
    """One budget and how far it is used in a month.

    Attributes:
        month: YYYY-MM, UTC.
        spent: what the month's records cost, and what was settled without a record.
        reserved: what reservations hold that are neither settled nor expired.
        remaining: what can be reserved; never below 0.
        crossed: the thresholds that `spent` has reached.
        unpriced_requests: records of the month whose cost is not known; `spent` is without them.
    """

    id: UUID
    name: str
    scope: BudgetScope
    value: str | None
    amount: UsdNumber
    thresholds: list[UsdNumber]
    month: str
    spent: UsdNumber
    reserved: UsdNumber
    remaining: UsdNumber
    crossed: list[UsdNumber]
    unpriced_requests: int


class Budgets(msgspec.Struct):
    """`GET /api/v1/budgets`: the account's budgets, the oldest first, in the month of now."""

    budgets: list[Budget]


class ReserveRequest(msgspec.Struct, kw_only=True):
    """`POST /api/v1/budgets/{budget_id}/reserve`: hold a part of what is left of the month.

    Attributes:
        expires_in_s: how long it is held at most.
        reservation_id: the caller's own name for it, so that a repeat is the same reservation. One name may
            stand for a reservation in each of several budgets.
    """

    amount: BudgetUsd
    expires_in_s: Annotated[int, msgspec.Meta(ge=1, le=MAX_RESERVED_S)] = DEFAULT_RESERVED_S
    reservation_id: UUID | None = None


class Reservation(msgspec.Struct, kw_only=True):
    """A part of a budget that is held; `remaining` is what was left beside it."""

    reservation_id: UUID
    budget_id: UUID
    amount: UsdNumber
    remaining: UsdNumber
    expires_at: Instant


class SettleRequest(msgspec.Struct, kw_only=True):
    """`POST /api/v1/budgets/{budget_id}/settle`: say what came of a reservation.

    Attributes:
        cost: what the call has cost; 0 or nothing gives the reservation back.
    """

    reservation_id: UUID
    cost: CostOrNull = msgspec.field(default_factory=lambda: ABSENT)


class Settlement(msgspec.Struct, kw_only=True):
    """What a reservation has come to.

    Attributes:
        cost: what counts: that of the record that names the reservation, where there is one.
        cost_from: `caller`, or `record`.
        overrun: by how much `cost` is more than what was reserved.
        remaining: what can be reserved of the month's budget now; never below 0.
    """

    reservation_id: UUID
    budget_id: UUID
    amount: UsdNumber
    cost: UsdNumber
    cost_from: Literal["caller", "record"]
    overrun: UsdNumber
    remaining: UsdNumber


class BudgetCrossed(msgspec.Struct, frozen=True, kw_only=True):
    """Event `budgets.crossed`: what a budget counts has reached a threshold of its month's amount.

    Attributes:
        event_id: derives from budget, month, amount and threshold, so that a repeat is the same event.
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
