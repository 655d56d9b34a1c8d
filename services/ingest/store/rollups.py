"""The tables that statistics add up."""

from collections.abc import Sequence

from services.ingest.rollup import RollupKey, Sums
from shared.postgres import Connection

ADD_SUMS = """
INSERT INTO usage.rollups AS r (
    account_id, grain, bucket_at, provider, model_group, origin, alias, requests, unpriced_requests, cost,
    input_tokens, output_tokens, cached_input_tokens, timed_requests, latency_ms
)
SELECT * FROM unnest(
    $1::uuid[], $2::"char"[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::bigint[], $9::bigint[], $10::numeric[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
    $15::numeric[]
)
ON CONFLICT (account_id, grain, bucket_at, names_id) DO UPDATE SET
    requests = r.requests + excluded.requests,
    unpriced_requests = r.unpriced_requests + excluded.unpriced_requests,
    cost = r.cost + excluded.cost,
    input_tokens = r.input_tokens + excluded.input_tokens,
    output_tokens = r.output_tokens + excluded.output_tokens,
    cached_input_tokens = r.cached_input_tokens + excluded.cached_input_tokens,
    timed_requests = r.timed_requests + excluded.timed_requests,
    latency_ms = r.latency_ms + excluded.latency_ms
"""


async def add_sums(connection: Connection, sums: Sequence[tuple[RollupKey, Sums]]) -> None:
    """Add to the rows of the rollups, which must come in the order of their key."""
    if not sums:
        return
    rows = [
        (
            key.account_id,
            key.grain.encode(),
            *key[2:],
            each.requests,
            each.unpriced_requests,
            each.cost,
            each.input_tokens,
            each.output_tokens,
            each.cached_input_tokens,
            each.timed_requests,
            each.latency_ms,
        )
        for key, each in sums
    ]
    await connection.execute(ADD_SUMS, *(list(column) for column in zip(*rows, strict=True)))


ADD_LATENCIES = """
INSERT INTO usage.latency_rollups AS r (
    account_id, grain, bucket_at, provider, model_group, origin, alias, latency_bucket, requests
)
SELECT * FROM unnest(
    $1::uuid[], $2::"char"[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::smallint[], $9::bigint[]
)
ON CONFLICT (account_id, grain, names_id, bucket_at, latency_bucket) DO UPDATE SET
    requests = r.requests + excluded.requests
"""


async def add_latencies(connection: Connection, latencies: Sequence[tuple[RollupKey, int, int]]) -> None:
    """Add to the latency counts, which must come in the order of their key."""
    if not latencies:
        return
    rows = [(key.account_id, key.grain.encode(), *key[2:], bucket, count) for key, bucket, count in latencies]
    await connection.execute(ADD_LATENCIES, *(list(column) for column in zip(*rows, strict=True)))


DELETE_EMPTY = """
DELETE FROM usage.{table} r
USING unnest($1::uuid[], $2::"char"[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[])
      AS k (account_id, grain, bucket_at, provider, model_group, origin, alias)
WHERE r.account_id = k.account_id AND r.grain = k.grain AND r.bucket_at = k.bucket_at
  AND r.names_id = usage.names_id(k.provider, k.model_group, k.origin, k.alias) AND r.requests = 0
"""


async def delete_empty(connection: Connection, left: Sequence[RollupKey]) -> None:
    """Delete those of some rows that count no record any more, and their latency counts."""
    if not left:
        return
    columns = [
        list(column) for column in zip(*((*k[:1], k.grain.encode(), *k[2:]) for k in left), strict=True)
    ]
    for table in ("rollups", "latency_rollups"):
        await connection.execute(DELETE_EMPTY.format(table=table), *columns)
