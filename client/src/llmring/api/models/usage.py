"""Usage: the record, the answers to it, and statistics. Never prompts, never answers of models."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, Required, TypedDict

import msgspec

ServiceTier = Literal["standard", "batch", "flex", "priority"]


class UsageFields(TypedDict, total=False):
    """One call to an LLM. A field that is None counts as not given.

    `input_tokens` include cached reads, cache writes and audio; `output_tokens` include reasoning and audio.
    `provider` may stand in `model`, as `provider:model`. `cost` is in dollars, and counts instead of the
    registry's price. `timestamp` is the call's own time, with its offset from UTC. `reservation_id` names a
    part of a budget that was held for this call.
    """

    model: Required[str]
    provider: str | None
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_output_tokens: int
    service_tier: ServiceTier | None
    cost: Decimal | float | None
    latency_ms: int | None
    origin: str | None
    id_at_origin: str | None
    alias: str | None
    profile: str | None
    metadata: Mapping[str, Any] | None
    timestamp: datetime | str | None
    idempotency_key: str | None
    reservation_id: str | None


USAGE_FIELDS: Final = frozenset(UsageFields.__annotations__)


class CostLine(msgspec.Struct, frozen=True):
    """Which tokens met which rate."""

    kind: str
    tokens: int
    usd_per_million: Decimal
    usd: Decimal


class LogAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A record was accepted. `cost` is None where it could not be priced; `cost_status` says why."""

    log_id: str
    cost: Decimal | None
    timestamp: datetime
    cost_status: str
    registry_version: str | None = None
    cost_breakdown: list[CostLine] = []


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What one line of a breakdown adds up to; `cost` leaves out the unpriced requests."""

    requests: int
    cost: Decimal
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    unpriced_requests: int = 0


class PeriodSums(Sums, frozen=True, kw_only=True):
    """One period, under its first day."""

    period: str


class DaySums(Sums, frozen=True, kw_only=True):
    """One day with usage."""

    date: str
    top_model: str | None = None


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds; None where no record has a latency."""

    avg: Decimal | None = None
    p50: Decimal | None = None
    p95: Decimal | None = None
    p99: Decimal | None = None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The whole range."""

    total_requests: int
    total_cost: Decimal
    total_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    unique_models: int = 0
    unique_origins: int = 0
    unpriced_requests: int = 0
    latency_ms: Latency = Latency()


class UsageStats(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics. Each breakdown adds up to the total; `by_model` has the keys `provider:model`.

    Attributes:
        complete: False where the newest records are not in it yet.
    """

    start_date: str
    end_date: str
    group_by: str
    timezone: str = "UTC"
    complete: bool = True
    total_requests: int
    total_cost: Decimal
    summary: Summary
    by_period: list[PeriodSums] = []
    by_day: list[DaySums] = []
    by_model: dict[str, Sums] = {}
    by_provider: dict[str, Sums] = {}
    by_origin: dict[str, Sums] = {}
    by_alias: dict[str, Sums] = {}


class RefusedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A record that an import could not take over: its number from 0, and why."""

    index: int
    reason: str


class ImportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an import. A record that was there already counts as accepted."""

    accepted: int
    refused: list[RefusedLine]
