"""Which records a reader asks for: plain values, known to routes, use cases and stores alike."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID


class Filters(NamedTuple):
    """Which records count; None is all. `model` is a registry key, or the name in it without the provider."""

    origin: str | None = None
    model: str | None = None
    provider: str | None = None
    alias: str | None = None


class LogQuery(NamedTuple):
    """Which records of an account are asked for; a bound that is None is open."""

    account_id: UUID
    start_at: datetime | None
    end_at: datetime | None
    filters: Filters


class UnpricedQuery(NamedTuple):
    """Which records without a cost are asked for, of all accounts or one: `start_at <= occurred_at < end_at`.

    `model` is a name as it was sent, or as for `Filters`.
    """

    start_at: datetime
    end_at: datetime
    account_id: UUID | None = None
    model: str | None = None
