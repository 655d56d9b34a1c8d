"""Usage records folded into what statistics add up: pure, in UTC days and in quarters of an hour."""

from collections.abc import Iterable
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
    """

    sums: list[tuple[RollupKey, Sums]]
    latencies: list[tuple[RollupKey, int, int]]


def model_group_of(event: UsageLogged) -> str:
    """What statistics count a record under: the registry key, else `provider:model`."""
    return event.model_key or f"{fold_provider(event.provider)}:{event.model}"


def roll_up(events: Iterable[UsageLogged]) -> Rollup:
    """Fold records into rows of both grains."""
    sums: dict[RollupKey, Sums] = {}
    latencies: dict[tuple[RollupKey, int], int] = {}
    for event in events:
        at = event.occurred_at
        quarter_at = at.replace(minute=at.minute - at.minute % 15, second=0, microsecond=0)
        day_at = at.replace(hour=0, minute=0, second=0, microsecond=0)
        group = model_group_of(event)
        names = (fold_provider(event.provider), group, event.origin or "", event.alias or "")
        cost = None if event.cost is None else Decimal(event.cost)
        for grain, bucket_at in ((DAY, day_at), (QUARTER, quarter_at)):
            key = RollupKey(event.account_id, grain, bucket_at, *names)
            row = sums.get(key)
            if row is None:
                row = sums[key] = Sums()
            _add(row, event, cost)
            if event.latency_ms is not None:
                bucket = bucket_of(event.latency_ms)
                whole = RollupKey(event.account_id, grain, bucket_at, "", "", "", "")
                for counted in ((key, bucket), (whole, bucket)):
                    latencies[counted] = latencies.get(counted, 0) + 1
    return Rollup(
        sorted(sums.items(), key=lambda item: item[0]),
        sorted((key, bucket, requests) for (key, bucket), requests in latencies.items()),
    )


def _add(row: Sums, event: UsageLogged, cost: Decimal | None) -> None:
    row.requests += 1
    if cost is None:
        row.unpriced_requests += 1
    else:
        row.cost = EXACT.add(row.cost, cost)
    row.input_tokens += event.input_tokens
    row.output_tokens += event.output_tokens
    row.cached_input_tokens += event.cached_input_tokens
    if event.latency_ms is not None:
        row.timed_requests += 1
        row.latency_ms += event.latency_ms
