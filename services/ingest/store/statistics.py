"""The sums behind statistics: rollups alone, but for the odd minutes at the ends of a range."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from services.ingest.latency import bucket_of
from services.ingest.selection import Filters
from shared.postgres import Connection
from shared.pricing.names import fold_provider


class Span(NamedTuple):
    """Which rows to add up.

    Attributes:
        grain: that of the rollups.
        start_at: of the first bucket.
        end_at: of the first bucket after the last.
        edges: pieces of time, shorter than a bucket, that the buckets do not cover.
    """

    grain: str
    start_at: datetime
    end_at: datetime
    edges: Sequence[tuple[datetime, datetime]]


class SumRow(NamedTuple):
    """One group's sums. `dimension` is what it is grouped by, `name` the group's name or the day's number."""

    dimension: str
    name: str
    requests: int
    unpriced_requests: int
    cost: Decimal
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    timed_requests: int
    latency_ms: Decimal
    top_model: str | None


def _where(first: int) -> str:
    """The filters as conditions on the parameters from number `first` on."""
    origin, alias, provider, model = (f"${number}" for number in range(first, first + 4))
    return f"""
    AND ({origin}::text IS NULL OR origin = {origin}) AND ({alias}::text IS NULL OR alias = {alias})
    AND ({provider}::text IS NULL OR provider = {provider})
    AND ({model}::text IS NULL OR model_group = {model}
         OR substr(model_group, length(provider) + 2) = {model})
"""


_FROM_ROLLUPS = f"""
    SELECT width_bucket(bucket_at, $5::timestamptz[]) AS day, provider, model_group, origin, alias, requests,
           unpriced_requests, cost, input_tokens, output_tokens, cached_input_tokens, timed_requests,
           latency_ms
    FROM usage.rollups
    WHERE account_id = $1 AND grain = $2::"char" AND bucket_at >= $3 AND bucket_at < $4 {_where(6)}
"""  # noqa: S608 - fixed text alone

_FROM_EDGES = f"""
    SELECT * FROM (
        SELECT width_bucket(occurred_at, $5::timestamptz[]) AS day, lower(l.provider COLLATE "C") AS provider,
               model_group, coalesce(origin, '') AS origin, coalesce(alias, '') AS alias, 1::bigint,
               (cost IS NULL)::int::bigint, coalesce(cost, 0), input_tokens, output_tokens,
               cached_input_tokens, (latency_ms IS NOT NULL)::int::bigint, coalesce(latency_ms, 0)::numeric
        FROM usage.logs l
        JOIN unnest($10::timestamptz[], $11::timestamptz[]) AS e(starts_at, ends_at)
          ON occurred_at >= e.starts_at AND occurred_at < e.ends_at
        WHERE account_id = $1
    ) AS edge
    WHERE true {_where(6)}
"""  # noqa: S608 - fixed text alone

_SUMS = """
    sum(requests)::bigint AS requests, sum(unpriced_requests)::bigint AS unpriced_requests,
    sum(cost) AS cost, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,
    sum(cached_input_tokens)::bigint AS cached_input_tokens, sum(timed_requests)::bigint AS timed_requests,
    sum(latency_ms) AS latency_ms
"""


def _statistics_sql(source: str) -> str:
    return f"""
WITH part AS MATERIALIZED ({source}),
sums AS (
    SELECT CASE GROUPING(day, model_group, provider, origin, alias)
               WHEN 15 THEN 'day' WHEN 23 THEN 'model' WHEN 27 THEN 'provider' WHEN 29 THEN 'origin'
               WHEN 30 THEN 'alias' ELSE 'all' END AS dimension,
           coalesce(day::text, model_group, provider, origin, alias, '') AS name, day, {_SUMS}
    FROM part
    GROUP BY GROUPING SETS ((), (day), (model_group), (provider), (origin), (alias))
),
top AS (
    SELECT DISTINCT ON (day) day, model_group
    FROM (
        SELECT day, model_group, sum(requests) AS requests, sum(cost) AS cost FROM part GROUP BY 1, 2
    ) AS each
    ORDER BY day, requests DESC, cost DESC, model_group
)
SELECT s.dimension, s.name, s.requests, s.unpriced_requests, s.cost, s.input_tokens, s.output_tokens,
       s.cached_input_tokens, s.timed_requests, s.latency_ms, t.model_group AS top_model
FROM sums s LEFT JOIN top t ON s.dimension = 'day' AND t.day = s.day
WHERE s.requests IS NOT NULL
"""  # noqa: S608 - fixed text alone


LIST_SUMS = _statistics_sql(_FROM_ROLLUPS)
LIST_SUMS_WITH_EDGES = _statistics_sql(f"{_FROM_ROLLUPS} UNION ALL {_FROM_EDGES}")


async def list_sums(
    connection: Connection, account_id: UUID, span: Span, days: Sequence[datetime], filters: Filters
) -> list[SumRow]:
    """The sums of a span: of all, and by day, model, provider, origin and alias.

    Args:
        days: the instants at which its days begin, in order; a day row's name is the day's number from 1.
    """
    arguments = [account_id, span.grain.encode(), span.start_at, span.end_at, days, *_filter_values(filters)]
    if span.edges:
        starts, ends = zip(*span.edges, strict=True)
        rows = await connection.fetch(LIST_SUMS_WITH_EDGES, *arguments, list(starts), list(ends))
    else:
        rows = await connection.fetch(LIST_SUMS, *arguments)
    return [SumRow(*row.values()) for row in rows]


def _filter_values(filters: Filters) -> list[str | None]:
    provider = None if filters.provider is None else fold_provider(filters.provider)
    return [filters.origin, filters.alias, provider, filters.model]


LIST_LATENCIES = f"""
SELECT latency_bucket, sum(requests)::bigint AS requests
FROM usage.latency_rollups
WHERE account_id = $1 AND grain = $2::"char" AND bucket_at >= $3 AND bucket_at < $4
  AND CASE WHEN $5 THEN names_id <> usage.names_id('', '', '', '')
      ELSE names_id = usage.names_id('', '', '', '') END
  {_where(6)}
GROUP BY latency_bucket
"""  # noqa: S608 - fixed text alone

LIST_EDGE_LATENCIES = f"""
SELECT latency_ms, count(*) AS requests
FROM (
    SELECT lower(l.provider COLLATE "C") AS provider, model_group, coalesce(origin, '') AS origin,
           coalesce(alias, '') AS alias, latency_ms
    FROM usage.logs l
    JOIN unnest($2::timestamptz[], $3::timestamptz[]) AS e(starts_at, ends_at)
      ON occurred_at >= e.starts_at AND occurred_at < e.ends_at
    WHERE account_id = $1 AND latency_ms IS NOT NULL
) AS edge
WHERE true {_where(4)}
GROUP BY latency_ms
"""  # noqa: S608 - fixed text alone


async def list_latencies(
    connection: Connection, account_id: UUID, span: Span, filters: Filters
) -> list[tuple[int, int]]:
    """How many requests of a span fell into each latency bucket, in ascending order of buckets."""
    filtered = any(value is not None for value in filters)
    values = _filter_values(filters)
    rows = await connection.fetch(
        LIST_LATENCIES, account_id, span.grain.encode(), span.start_at, span.end_at, filtered, *values
    )
    counts = {row["latency_bucket"]: row["requests"] for row in rows}
    if span.edges:
        starts, ends = zip(*span.edges, strict=True)
        edges = await connection.fetch(LIST_EDGE_LATENCIES, account_id, list(starts), list(ends), *values)
        for row in edges:
            bucket = bucket_of(row["latency_ms"])
            counts[bucket] = counts.get(bucket, 0) + row["requests"]
    return sorted(counts.items())
