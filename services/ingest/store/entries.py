"""Reading usage records back, newest first."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import msgspec

from services.ingest.selection import LogQuery
from shared.clock import rfc3339
from shared.contracts.records import LogEntry
from shared.contracts.usage import NULL, CostLine, answer_lines
from shared.money import plain
from shared.postgres import Connection, Row
from shared.pricing.names import fold_provider

_breakdown_decoder = msgspec.json.Decoder(list[CostLine])

_COLUMNS = """
    log_id, occurred_at, received_at, provider, model, model_key, alias, profile, origin, input_tokens,
    output_tokens, cached_input_tokens, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens,
    audio_input_tokens, audio_output_tokens, service_tier, latency_ms, cost, cost_status, client_cost,
    calculated_cost, calculated_status, registry_version, cost_breakdown, metadata, id_at_origin,
    repriced_at
"""


class Cursor(NamedTuple):
    """The last record that was given out; the next page starts after it."""

    occurred_at: datetime
    log_id: UUID


LIST_ENTRIES = f"""
SELECT {_COLUMNS}
FROM usage.logs
WHERE account_id = $1
  AND ($2::timestamptz IS NULL OR occurred_at >= $2) AND ($3::timestamptz IS NULL OR occurred_at < $3)
  AND ($4::text IS NULL OR coalesce(origin, '') = $4) AND ($5::text IS NULL OR coalesce(alias, '') = $5)
  AND ($6::text IS NULL OR lower(provider COLLATE "C") = $6)
  AND ($7::text IS NULL OR model_group = $7 OR substr(model_group, length(provider) + 2) = $7)
  AND ($8::timestamptz IS NULL OR (occurred_at, log_id) < ($8, $9::uuid))
ORDER BY occurred_at DESC, log_id DESC
LIMIT $10 OFFSET $11
"""  # noqa: S608 - fixed text alone


async def list_entries(
    connection: Connection, query: LogQuery, *, after: Cursor | None, limit: int, offset: int = 0
) -> list[LogEntry]:
    """Records of one account, newest first."""
    filters = query.filters
    rows = await connection.fetch(
        LIST_ENTRIES,
        query.account_id,
        query.start_at,
        query.end_at,
        filters.origin,
        filters.alias,
        None if filters.provider is None else fold_provider(filters.provider),
        filters.model,
        None if after is None else after.occurred_at,
        None if after is None else after.log_id,
        limit,
        offset,
    )
    return [_entry(row) for row in rows]


FIND_ENTRY = f"SELECT {_COLUMNS} FROM usage.logs WHERE account_id = $1 AND log_id = $2"  # noqa: S608 - fixed text


async def find_entry(connection: Connection, account_id: UUID, log_id: UUID) -> LogEntry | None:
    """One record of one account."""
    row = await connection.fetchrow(FIND_ENTRY, account_id, log_id)
    return None if row is None else _entry(row)


def _entry(row: Row) -> LogEntry:
    return LogEntry(
        id=row["log_id"],
        logged_at=rfc3339(row["occurred_at"]),
        received_at=rfc3339(row["received_at"]),
        provider=row["provider"],
        model=row["model"],
        model_key=row["model_key"],
        alias=row["alias"],
        profile=row["profile"],
        origin=row["origin"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cached_input_tokens=row["cached_input_tokens"],
        cache_write_5m_tokens=row["cache_write_5m_tokens"],
        cache_write_1h_tokens=row["cache_write_1h_tokens"],
        reasoning_tokens=row["reasoning_tokens"],
        audio_input_tokens=row["audio_input_tokens"],
        audio_output_tokens=row["audio_output_tokens"],
        service_tier=row["service_tier"],
        latency_ms=row["latency_ms"],
        cost=_number(row["cost"]),
        cost_status=row["cost_status"],
        client_cost=_number(row["client_cost"]),
        calculated_cost=_number(row["calculated_cost"]),
        calculated_status=row["calculated_status"],
        registry_version=row["registry_version"],
        cost_breakdown=answer_lines(_breakdown_decoder.decode(row["cost_breakdown"])),
        metadata=NULL if row["metadata"] is None else msgspec.Raw(row["metadata"].encode()),
        id_at_origin=row["id_at_origin"],
        repriced_at=None if row["repriced_at"] is None else rfc3339(row["repriced_at"]),
    )


def _number(amount: Decimal | None) -> msgspec.Raw:
    return NULL if amount is None else msgspec.Raw(plain(amount).encode())
