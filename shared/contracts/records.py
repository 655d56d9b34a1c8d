"""`GET /api/v1/logs`: stored usage records, in the shape of the reference server and more."""

from uuid import UUID

import msgspec

from shared.contracts.usage import AnswerLine, Instant, ObjectOrNull, UsdNumberOrNull


class LogEntry(msgspec.Struct, kw_only=True):
    """One stored record.

    Attributes:
        logged_at: the event's own time.
        model: the name as sent; `model_key` is the registry key it resolved to, or null.
        cost: what every sum uses; null where the record could not be priced.
        client_cost: what the caller said it cost; null where it said nothing.
        calculated_cost: what the pinned registry version says it cost; null where that cannot price it.
        repriced_at: when the cost of a record that could not be priced was found; null as a rule.
        conversation_id: always null: this system keeps no conversations. Clients of the reference server
            expect the field.
        state: `stored`, or `pending` while the record is accepted and not yet counted.
    """

    id: UUID
    logged_at: str
    received_at: str
    provider: str
    model: str
    model_key: str | None
    alias: str | None
    profile: str | None
    origin: str | None
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    reasoning_tokens: int
    audio_input_tokens: int
    audio_output_tokens: int
    service_tier: str
    latency_ms: int | None
    cost: UsdNumberOrNull
    cost_status: str
    client_cost: UsdNumberOrNull
    calculated_cost: UsdNumberOrNull
    calculated_status: str
    registry_version: str | None
    cost_breakdown: list[AnswerLine]
    metadata: ObjectOrNull
    conversation_id: str | None = None
    id_at_origin: str | None
    repriced_at: str | None = None
    state: str = "stored"


class PendingEntry(msgspec.Struct, kw_only=True):
    """A record that may be accepted and is not yet counted: ask again."""

    id: UUID
    state: str = "pending"


CSV_COLUMNS = tuple(name for name in LogEntry.__struct_fields__ if name not in ("cost_breakdown", "state"))
"""The columns of `format=csv`, in order."""

FREE_TEXT = frozenset(
    ("provider", "model", "model_key", "alias", "profile", "origin", "service_tier", "id_at_origin")
)
"""Of these, the ones in which a caller may have written anything."""


class KeptRecords(msgspec.Struct, frozen=True):
    """Which single records of an account are still there.

    Attributes:
        deleted_before: records whose own time is earlier may have been deleted by retention; None: none were.
    """

    deleted_before: Instant | None
