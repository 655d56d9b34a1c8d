"""`GET /api/v1/stats`: amounts are plain JSON numbers in US dollars, exact."""

import msgspec

from shared.contracts.usage import Instant, UsdNumber


class GroupStats(msgspec.Struct, kw_only=True):
    """The sums of one group. `cost` adds up the priced records; `unpriced_requests` counts the others."""

    requests: int
    cost: UsdNumber
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    unpriced_requests: int


class PeriodStats(GroupStats, kw_only=True):
    """The sums of one period; `period` is its first day."""

    period: str


class DayStats(GroupStats, kw_only=True):
    """The sums of one day with usage; `top_model` is the model with the most requests."""

    date: str
    top_model: str | None


class Latency(msgspec.Struct, kw_only=True):
    """Latencies in milliseconds of the records that carry one; null where none does.

    Percentiles are nearest-rank: exact up to 100 ms, within about one percent above.
    """

    avg: float | None = None
    p50: int | None = None
    p95: int | None = None
    p99: int | None = None


class Summary(msgspec.Struct, kw_only=True):
    """The sums of the whole range. `unique_origins` leaves out records without an origin."""

    total_requests: int
    total_cost: UsdNumber
    total_tokens: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    unique_models: int
    unique_origins: int
    unpriced_requests: int
    latency_ms: Latency


class Statistics(msgspec.Struct, kw_only=True):
    """Usage of one account over a range of days.

    Attributes:
        complete: False where the caller's newest record is not counted yet.
        by_period: every period of the range, also those without usage.
        by_day: the days with usage.
        by_model: by registry key, or `provider:model` for names in no registry; the other breakdowns count
            records without an origin or alias under "".
    """

    start_date: str
    end_date: str
    group_by: str
    timezone: str
    complete: bool
    total_requests: int
    total_cost: UsdNumber
    summary: Summary
    by_period: list[PeriodStats]
    by_day: list[DayStats]
    by_model: dict[str, GroupStats]
    by_provider: dict[str, GroupStats]
    by_origin: dict[str, GroupStats]
    by_alias: dict[str, GroupStats]


class MonthUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What an account has used of a calendar month (UTC).

    Attributes:
        month: `YYYY-MM`.
        records: that arrived in it.
        resets_at: when the next month begins.
    """

    month: str
    records: int
    resets_at: Instant
