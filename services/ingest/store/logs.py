"""The table of usage records: written once each; only an unknown cost may be found later (`unpriced`)."""

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

import msgspec

from services.ingest.rollup import model_group_of
from shared.contracts.usage import NULL, UsageLogged
from shared.postgres import Connection

_breakdown_encoder = msgspec.json.Encoder()

RecordKey = tuple[UUID, UUID]
"""Account and log id."""

# One array for each column. Rows whose key is there already are passed over and not returned.
INSERT_LOGS = """
INSERT INTO usage.logs (
    account_id, log_id, occurred_at, received_at, key_id, provider, model, model_key, model_group,
    input_tokens, output_tokens, cached_input_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
    reasoning_tokens, audio_input_tokens, audio_output_tokens, service_tier, alias, profile, origin,
    id_at_origin, latency_ms, metadata, client_cost, calculated_cost, calculated_status, cost, cost_status,
    registry_version, cost_breakdown, repriced_at, reservation_id
)
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::uuid[], $6::text[], $7::text[],
    $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
    $15::bigint[], $16::bigint[], $17::bigint[], $18::text[], $19::text[], $20::text[], $21::text[],
    $22::text[], $23::bigint[], $24::text[], $25::numeric[], $26::numeric[], $27::text[], $28::numeric[],
    $29::text[], $30::text[], $31::text[], $32::timestamptz[], $33::uuid[]
)
ON CONFLICT DO NOTHING
RETURNING account_id, log_id
"""


async def insert_logs(connection: Connection, events: Sequence[UsageLogged]) -> set[RecordKey]:
    """Store records, of those with one key the first; the keys of those that were new."""
    if not events:
        return set()
    # In the order of the key, as every writer has them, so that two of them cannot wait for each other.
    events = sorted(events, key=lambda event: (event.account_id.int, event.log_id.int))
    columns = [list(column) for column in zip(*map(_row, events), strict=True)]
    rows = await connection.fetch(INSERT_LOGS, *columns)
    return {(UUID(int=row["account_id"].int), UUID(int=row["log_id"].int)) for row in rows}


def _row(event: UsageLogged) -> tuple[object, ...]:
    return (
        event.account_id,
        event.log_id,
        event.occurred_at,
        event.received_at,
        event.key_id,
        event.provider,
        event.model,
        event.model_key,
        model_group_of(event),
        event.input_tokens,
        event.output_tokens,
        event.cached_input_tokens,
        event.cache_write_5m_tokens,
        event.cache_write_1h_tokens,
        event.reasoning_tokens,
        event.audio_input_tokens,
        event.audio_output_tokens,
        event.service_tier,
        event.alias,
        event.profile,
        event.origin,
        event.id_at_origin,
        event.latency_ms,
        None if event.metadata == NULL else bytes(event.metadata).decode(),
        _amount(event.client_cost),
        _amount(event.calculated_cost),
        event.calculated_status,
        _amount(event.cost),
        event.cost_status,
        event.registry_version,
        breakdown_text(event),
        event.repriced_at,
        event.reservation_id,
    )


def breakdown_text(event: UsageLogged) -> str:
    """The lines of a cost as they are stored."""
    return _breakdown_encoder.encode(event.cost_breakdown).decode()


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
