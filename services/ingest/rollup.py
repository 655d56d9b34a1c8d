"""Usage records folded into what statistics add up: pure, in UTC days and in quarters of an hour."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from services.ingest.latency import bucket_of
from shared.contracts.usage import UsageLogged
from shared.money import EXACT, ZERO
from shared.pricing.names import fold_provider

DAY = "d"
QUARTER = "q"
QUARTER_HOUR = timedelta(minutes=15)


class RollupKey(NamedTuple):
    """What one row of the rollups stands for. An absent origin or alias is ''."""

    account_id: UUID
    grain: str
    bucket_at: datetime
    provider: str
    model_group: str
    origin: str
    alias: str


class Sums:
    """The measures of one row."""

    __slots__ = (
        "cached_input_tokens",
        "cost",
        "input_tokens",
        "latency_ms",
        "output_tokens",
        "requests",
        "timed_requests",
        "unpriced_requests",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.unpriced_requests = 0
        self.cost = ZERO
        self.input_tokens = 0
        self.output_tokens = 0
        self.cached_input_tokens = 0
        self.timed_requests = 0
        self.latency_ms = 0


class Rollup(NamedTuple):
    """What a batch of records adds to the rollups, in the order of the tables' keys.

    The order is the same for every writer, so that two of them cannot wait for each other.

    Attributes:
        left: rows that records were taken out of: with no records any more they must not stay.
    """

    sums: list[tuple[RollupKey, Sums]]
    latencies: list[tuple[RollupKey, int, int]]
    left: list[RollupKey]


def model_group_of(event: UsageLogged) -> str:
    """What statistics count a record under: the registry key, else `provider:model`."""
    return event.model_key or f"{fold_provider(event.provider)}:{event.model}"


def roll_up(added: Iterable[UsageLogged], unpriced: Sequence[UsageLogged] = ()) -> Rollup:
    """Fold records into rows of both grains.

    Args:
        added: to be counted.
        unpriced: were counted without a cost, and are not to be any more: with their cost they are among
            `added`.
    """
    sums: dict[RollupKey, Sums] = {}
    latencies: dict[tuple[RollupKey, int], int] = {}
    for event in added:
        _fold(event, 1, sums, latencies)
    for event in unpriced:
        _fold(event, -1, sums, latencies)
    return Rollup(
        sorted(sums.items(), key=lambda item: item[0]),
        sorted((key, bucket, requests) for (key, bucket), requests in latencies.items() if requests),
        sorted({key for event in unpriced for key in _keys_of(event)}),
    )


def _keys_of(event: UsageLogged) -> tuple[RollupKey, RollupKey]:
    at = event.occurred_at
    quarter_at = at.replace(minute=at.minute - at.minute % 15, second=0, microsecond=0)
    day_at = at.replace(hour=0, minute=0, second=0, microsecond=0)
    names = (
        fold_provider(event.provider),
        model_group_of(event),
        event.origin or "",
        event.alias or "",
    )
    return (
        RollupKey(event.account_id, DAY, day_at, *names),
        RollupKey(event.account_id, QUARTER, quarter_at, *names),
    )


def _fold(
    event: UsageLogged, sign: int, sums: dict[RollupKey, Sums], latencies: dict[tuple[RollupKey, int], int]
) -> None:
    cost = None if event.cost is None else Decimal(event.cost)
    for key in _keys_of(event):
        row = sums.get(key)
        if row is None:
            row = sums[key] = Sums()
        _add(row, event, cost, sign)
        if event.latency_ms is not None:
            bucket = bucket_of(event.latency_ms)
            whole = RollupKey(event.account_id, key.grain, key.bucket_at, "", "", "", "")
            for counted in ((key, bucket), (whole, bucket)):
                latencies[counted] = latencies.get(counted, 0) + sign


def _add(row: Sums, event: UsageLogged, cost: Decimal | None, sign: int) -> None:
    row.requests += sign
    if cost is None:
        row.unpriced_requests += sign
    else:
        row.cost = EXACT.add(row.cost, cost)
    row.input_tokens += sign * event.input_tokens
    row.output_tokens += sign * event.output_tokens
    row.cached_input_tokens += sign * event.cached_input_tokens
    if event.latency_ms is not None:
        row.timed_requests += sign
        row.latency_ms += sign * event.latency_ms
