"""Webhooks and budgets."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint that is told of events.

    Attributes:
        secret: signs what is delivered (Standard Webhooks); shown once, when the endpoint is registered.
    """

    id: str
    url: str
    events: list[str]
    secret: str | None = None


class Webhooks(msgspec.Struct, frozen=True, kw_only=True):
    """The account's endpoints."""

    webhooks: list[Webhook]


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a budget that is held for one caller, in dollars.

    Attributes:
        remaining: what the budget has left after it.
        expires_at: when it falls back by itself.
    """

    reservation_id: str
    remaining: Decimal
    expires_at: datetime | None = None


class Budgets(msgspec.Struct, frozen=True, kw_only=True):
    """The account's budgets, as the server tells them."""

    budgets: list[dict[str, Any]]
