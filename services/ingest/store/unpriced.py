"""Records without a cost: found again, and given the cost that was found later."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from services.ingest.rollup import model_group_of
from services.ingest.selection import UnpricedQuery
from services.ingest.store.logs import RecordKey, breakdown_text
from shared.contracts.usage import NULL, UsageLogged
from shared.postgres import Connection, Row

_FACTS: Final = (
    "occurred_at, received_at, provider, model, model_key, input_tokens, output_tokens, cached_input_tokens, "
    "cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, audio_input_tokens, "
    "audio_output_tokens, service_tier, alias, profile, origin, id_at_origin, latency_ms, calculated_status, "
    "cost_status, registry_version"
)
_COLUMNS: Final = f"l.account_id, l.log_id, key_id, metadata, reservation_id, {_FACTS}"


class Place(NamedTuple):
    """Where a record stands among those without a cost."""

    occurred_at: datetime
    account_id: UUID
    log_id: UUID


LIST_UNPRICED: Final = f"""
SELECT {_COLUMNS} FROM usage.logs l
WHERE cost IS NULL AND occurred_at >= $1 AND occurred_at < $2
  AND ($3::uuid IS NULL OR account_id = $3)
  AND ($4::text IS NULL OR model = $4 OR model_group = $4 OR substr(model_group, length(provider) + 2) = $4)
  AND ($5::timestamptz IS NULL OR (occurred_at, account_id, log_id) > ($5, $6::uuid, $7::uuid))
ORDER BY occurred_at, account_id, log_id
LIMIT $8
"""  # noqa: S608 - fixed text alone


async def list_unpriced(
    connection: Connection, query: UnpricedQuery, *, after: Place | None, limit: int
) -> list[UsageLogged]:
    """Records without a cost, by their own time, after a place. Nothing is locked."""
    place: tuple[object, ...] = (None, None, None) if after is None else after
    if after is not None:  # so that the index is entered there, and not at the beginning of the range
        query = query._replace(start_at=max(query.start_at, after.occurred_at))
    return [_event(row) for row in await connection.fetch(LIST_UNPRICED, *query, *place, limit)]


FIND_UNPRICED: Final = f"""
SELECT {_COLUMNS}
FROM unnest($1::uuid[], $2::uuid[]) AS asked (account_id, log_id)
JOIN usage.logs l USING (account_id, log_id)
WHERE l.cost IS NULL
"""  # noqa: S608 - fixed text alone


async def find_unpriced(connection: Connection, keys: Collection[RecordKey]) -> dict[RecordKey, UsageLogged]:
    """Those of some records that have no cost, by account and log id."""
    if not keys:
        return {}
    rows = await connection.fetch(FIND_UNPRICED, *(list(column) for column in zip(*keys, strict=True)))
    events = map(_event, rows)
    return {(event.account_id, event.log_id): event for event in events}


# A cost that is there stays, whoever put it there.
SET_COSTS: Final = """
UPDATE usage.logs l SET
    model_key = n.model_key, model_group = n.model_group, calculated_cost = n.cost, cost = n.cost,
    calculated_status = n.status, cost_status = n.status, registry_version = n.registry_version,
    cost_breakdown = n.cost_breakdown, repriced_at = n.repriced_at
FROM unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::numeric[], $6::text[], $7::text[], $8::text[],
    $9::timestamptz[]
) AS n (account_id, log_id, model_key, model_group, cost, status, registry_version, cost_breakdown,
        repriced_at)
WHERE l.account_id = n.account_id AND l.log_id = n.log_id AND l.cost IS NULL
"""


async def set_costs(connection: Connection, priced: Sequence[UsageLogged]) -> None:
    """Give records without a cost, each once, that of these events."""
    if priced:
        await connection.execute(SET_COSTS, *map(list, zip(*map(_costs, priced), strict=True)))


def _costs(event: UsageLogged) -> tuple[object, ...]:
    return (
        event.account_id,
        event.log_id,
        event.model_key,
        model_group_of(event),
        None if event.cost is None else Decimal(event.cost),
        event.cost_status,
        event.registry_version,
        breakdown_text(event),
        event.repriced_at,
    )


def _event(row: Row) -> UsageLogged:
    """What was accepted, as far as the row has it: without idempotency key and digest of the body."""
    return UsageLogged(
        account_id=UUID(int=row["account_id"].int),
        log_id=UUID(int=row["log_id"].int),
        key_id=UUID(int=row["key_id"].int),
        metadata=NULL if row["metadata"] is None else msgspec.Raw(row["metadata"].encode()),
        cost=None,
        reservation_id=None if row["reservation_id"] is None else UUID(int=row["reservation_id"].int),
        **{name: row[name] for name in _FACTS.split(", ")},
    )
