"""Webhooks and budgets."""

from datetime import datetime
from decimal import Decimal

import msgspec


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint that is told of events.

    Attributes:
        secret: signs what is delivered (Standard Webhooks); shown once, when the endpoint is registered.
        status: `enabled` or `disabled`.
    """

    id: str
    url: str
    events: list[str]
    secret: str | None = None
    status: str | None = None
    description: str | None = None

    def __repr__(self) -> str:
        return f"Webhook(id={self.id!r}, url={self.url!r}, events={self.events!r})"  # never the secret


class Webhooks(msgspec.Struct, frozen=True, kw_only=True):
    """The account's endpoints."""

    webhooks: list[Webhook]


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """One budget, and how far it is used in this month. Dollars.

    Attributes:
        scope: `account`, `key` or `origin`; `value` names the key or the origin.
        thresholds: shares of the amount of which to be told.
        reserved: held by reservations.
        remaining: what can be reserved.
        unpriced_requests: records whose cost is not known; `spent` is without them.
    """

    id: str
    name: str
    scope: str
    value: str | None = None
    amount: Decimal
    thresholds: list[Decimal] = []
    month: str
    spent: Decimal
    reserved: Decimal
    remaining: Decimal
    unpriced_requests: int = 0


class Budgets(msgspec.Struct, frozen=True, kw_only=True):
    """The account's budgets."""

    budgets: list[Budget]


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a budget that is held for one caller, in dollars.

    Attributes:
        remaining: what the budget has left beside it.
        expires_at: when it falls back by itself.
    """

    reservation_id: str
    remaining: Decimal
    expires_at: datetime | None = None


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What a reservation has come to, in dollars.

    Attributes:
        cost: what counts.
        overrun: by how much that is more than what was reserved.
        remaining: what can be reserved now.
    """

    reservation_id: str
    cost: Decimal
    overrun: Decimal = Decimal(0)
    remaining: Decimal
