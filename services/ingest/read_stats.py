"""Statistics of one account's usage, from the rollups."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

import msgspec

from services.ingest.latency import percentile_ms
from services.ingest.periods import GroupBy, Period, TimeRange, list_days, list_period_days, period_of
from services.ingest.rollup import DAY, QUARTER, QUARTER_HOUR
from services.ingest.selection import Filters
from services.ingest.store.statistics import Span, SumRow, list_latencies, list_sums
from shared.contracts.statistics import (
    DayStats,
    GroupStats,
    Latency,
    PeriodStats,
    Statistics,
    Summary,
)
from shared.errors import InvalidFieldError
from shared.money import EXACT, ZERO, plain
from shared.postgres import Database

Stats = TypeVar("Stats", bound=GroupStats)

_EMPTY = SumRow("", "", 0, 0, ZERO, 0, 0, 0, 0, ZERO, None)


async def read_stats(
    database: Database, account_id: UUID, span: TimeRange, group_by: GroupBy, filters: Filters
) -> Statistics:
    """The statistics of a range. `complete` is left for the caller, who knows what it waited for.

    Raises:
        InvalidFieldError: the range has more periods than are given out at once.
        UnavailableError: the database is away.
    """
    periods = list_period_days(span, group_by)
    days = list_days(span)
    asked = _span_of(span, days)
    async with database.connection() as connection:
        rows = await list_sums(connection, account_id, asked, [day.starts_at for day in days], filters)
        latencies = await list_latencies(connection, account_id, asked, filters)
    groups: dict[str, dict[str, SumRow]] = {}
    for row in rows:
        groups.setdefault(row.dimension, {})[row.name] = row
    whole = groups.get("all", {}).get("", _EMPTY)
    by_day = [(days[int(name) - 1].first_day, row) for name, row in groups.get("day", {}).items()]
    by_day.sort(key=lambda item: item[0])
    by_period = dict.fromkeys(periods, _EMPTY)
    for day, row in by_day:
        period = period_of(day, group_by)
        by_period[period] = _add(by_period[period], row)
    return Statistics(
        start_date=span.first_day.isoformat(),
        end_date=span.last_day.isoformat(),
        group_by=group_by,
        timezone=span.zone.key,
        complete=True,
        total_requests=whole.requests,
        total_cost=_number(whole.cost),
        summary=Summary(
            total_requests=whole.requests,
            total_cost=_number(whole.cost),
            total_tokens=whole.input_tokens + whole.output_tokens,
            input_tokens=whole.input_tokens,
            output_tokens=whole.output_tokens,
            cached_input_tokens=whole.cached_input_tokens,
            unique_models=len(groups.get("model", {})),
            unique_origins=len(groups.get("origin", {}).keys() - {""}),
            unpriced_requests=whole.unpriced_requests,
            latency_ms=_latency(whole, latencies),
        ),
        by_period=[_stats(PeriodStats, row, period=p.isoformat()) for p, row in by_period.items()],
        by_day=[_stats(DayStats, row, date=day.isoformat(), top_model=row.top_model) for day, row in by_day],
        by_model=_breakdown(groups, "model"),
        by_provider=_breakdown(groups, "provider"),
        by_origin=_breakdown(groups, "origin"),
        by_alias=_breakdown(groups, "alias"),
    )


def _span_of(span: TimeRange, days: Sequence[Period]) -> Span:
    """The coarsest buckets that the range and its days are made of."""
    bounds = [span.start_at, span.end_at, *(day.starts_at for day in days[1:])]
    if all(bound.hour == bound.minute == bound.second == bound.microsecond == 0 for bound in bounds):
        return Span(DAY, span.start_at, span.end_at, ())
    start_at, end_at = _quarter_after(span.start_at), _quarter_before(span.end_at)
    if start_at > end_at:  # the whole range lies within one quarter of an hour
        return Span(QUARTER, end_at, end_at, [(span.start_at, span.end_at)])
    edges = [(span.start_at, start_at), (end_at, span.end_at)]
    return Span(QUARTER, start_at, end_at, [edge for edge in edges if edge[0] < edge[1]])


def _quarter_before(at: datetime) -> datetime:
    return at.replace(minute=at.minute - at.minute % 15, second=0, microsecond=0)


def _quarter_after(at: datetime) -> datetime:
    before = _quarter_before(at)
    try:
        return before if before == at else before + QUARTER_HOUR
    except OverflowError:
        raise InvalidFieldError.of("start_date", "is not a possible date") from None


def _stats(kind: type[Stats], row: SumRow, **names: str | None) -> Stats:
    return kind(
        requests=row.requests,
        cost=_number(row.cost),
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cached_input_tokens=row.cached_input_tokens,
        unpriced_requests=row.unpriced_requests,
        **names,
    )


def _breakdown(groups: dict[str, dict[str, SumRow]], dimension: str) -> dict[str, GroupStats]:
    return {name: _stats(GroupStats, row) for name, row in sorted(groups.get(dimension, {}).items())}


def _add(one: SumRow, other: SumRow) -> SumRow:
    return SumRow(
        "",
        "",
        one.requests + other.requests,
        one.unpriced_requests + other.unpriced_requests,
        EXACT.add(one.cost, other.cost),
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.cached_input_tokens + other.cached_input_tokens,
        one.timed_requests + other.timed_requests,
        EXACT.add(one.latency_ms, other.latency_ms),
        None,
    )


def _latency(whole: SumRow, counts: list[tuple[int, int]]) -> Latency:
    if whole.timed_requests == 0:
        return Latency()
    return Latency(
        avg=round(float(whole.latency_ms / whole.timed_requests), 1),
        p50=percentile_ms(counts, 0.50),
        p95=percentile_ms(counts, 0.95),
        p99=percentile_ms(counts, 0.99),
    )


def _number(amount: Decimal) -> msgspec.Raw:
    return msgspec.Raw(plain(amount).encode())
