"""Usage records: the request, the answer and the two events. Amounts in events are decimal strings."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

MAX_TOKENS: Final = 1_000_000_000
MAX_COST_USD: Final = 1_000_000
MAX_METADATA_BYTES: Final = 16 * 1024
MAX_METADATA_DEPTH: Final = 16
MAX_LOG_BODY_BYTES: Final = 64 * 1024
MAX_BATCH_BODY_BYTES: Final = 5 * 1024 * 1024
MAX_BATCH_RECORDS: Final = 1000
MAX_LATENCY_MS: Final = 1_000_000_000_000
BODY_DIGEST_BYTES: Final = 32
EARLIEST_AT: Final = datetime(1, 1, 2, tzinfo=UTC)
LATEST_AT: Final = datetime(9999, 12, 30, tzinfo=UTC)
"""Between these two lies every instant of a record. The ends of the calendar itself cannot be stored: the
database's driver takes them for infinity, and there is no day before or after."""

ABSENT: Final = msgspec.Raw(b"")
NULL: Final = msgspec.Raw(b"null")

# JSON that is passed on as it is; the schema is for the OpenAPI document.
UsdNumber = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "number", "minimum": 0})]
UsdNumberOrNull = Annotated[
    msgspec.Raw, msgspec.Meta(extra_json_schema={"type": ["number", "null"], "minimum": 0})
]
ObjectOrNull = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": ["object", "null"]})]


def _absent() -> msgspec.Raw:
    return ABSENT


def _null() -> msgspec.Raw:
    return NULL


Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Text = Annotated[str, msgspec.Meta(max_length=255)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_LATENCY_MS)]
ServiceTier = Literal["standard", "batch", "flex", "priority"]
CostStatus = Literal[
    "priced", "client", "model_not_in_registry", "no_pricing_in_registry", "no_pricing_for_tier"
]
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
InstantText = Annotated[str, msgspec.Meta(max_length=64)]


class UsageLog(msgspec.Struct, kw_only=True):
    """`POST /api/v1/log`: one call to an LLM, as the caller counted it.

    `input_tokens` include cached reads, cache writes and audio; `output_tokens` include reasoning and audio.
    `provider:model` or `provider/model` in `model` may stand for both names. Unknown fields are ignored.
    """

    model: Name
    provider: Name | None = None
    input_tokens: Count = 0
    output_tokens: Count = 0
    cached_input_tokens: Count = 0
    cache_write_5m_tokens: Count = 0
    cache_write_1h_tokens: Count = 0
    reasoning_tokens: Count = 0
    audio_input_tokens: Count = 0
    audio_output_tokens: Count = 0
    service_tier: ServiceTier | None = None
    cost: UsdNumberOrNull = msgspec.field(default_factory=_absent)
    latency_ms: Milliseconds | None = None
    origin: Text | None = None
    id_at_origin: Text | None = None
    alias: Text | None = None
    profile: Text | None = None
    metadata: ObjectOrNull = msgspec.field(default_factory=_absent)
    timestamp: InstantText | None = None
    idempotency_key: Name | None = None
    reservation_id: UUID | None = None


class CostLine(msgspec.Struct, frozen=True):
    """Which tokens met which rate, in an event: amounts are decimal strings."""

    kind: str
    tokens: int
    usd_per_million: str
    usd: str


class UsageLogged(msgspec.Struct, kw_only=True):
    """Event `usage.logged`: one accepted record with the price pinned at acceptance.

    Attributes:
        log_id: names the record for ever; two events with one log id are one record.
        model: the name as sent; `model_key` is the registry key it resolved to, or None.
        occurred_at: the event's own time, UTC; statistics count it in that day.
        received_at: when it was accepted, UTC; quotas count it in that month.
        cost: what every sum uses: the client's cost where it was given, else the calculated one.
        metadata: the JSON object as it was sent.
        body_digest: SHA-256 of what was sent with `idempotency_key`, in Base64; None without one, and in
            events older than the field. Another body with the same key has another digest.
        repriced_at: None in the event of acceptance. Else this event is the record once more: its cost was
            unknown, was found later, and holds from now on. It has no `idempotency_key`.
        reservation_id: of budgets, which this record settles; None as a rule, and in events older than the
            field.
    """

    v: int = 1
    log_id: UUID
    account_id: UUID
    key_id: UUID
    occurred_at: Instant
    received_at: Instant
    provider: str
    model: str
    model_key: str | None
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    service_tier: str = "standard"
    alias: str | None = None
    profile: str | None = None
    origin: str | None = None
    id_at_origin: str | None = None
    latency_ms: int | None = None
    metadata: ObjectOrNull = msgspec.field(default_factory=_null)
    idempotency_key: str | None = None
    body_digest: bytes | None = None
    client_cost: str | None = None
    calculated_cost: str | None = None
    calculated_status: str
    cost: str | None
    cost_status: str
    registry_version: str | None
    cost_breakdown: list[CostLine] = []
    repriced_at: Instant | None = None
    reservation_id: UUID | None = None


class UsageRated(UsageLogged, kw_only=True):
    """Event `usage.rated`: a record priced again from its pinned version, stored and rolled up.

    A record whose cost was found later comes twice, the second time with `repriced_at`.

    Attributes:
        registry_digest: SHA-256 of the registry version, lower-case hex; None where this deployment does not
            have it, and in events older than the field.
    """

    rated_at: Instant
    registry_digest: str | None = None


class AnswerLine(msgspec.Struct, frozen=True):
    """Which tokens met which rate, in an answer: amounts are plain JSON numbers, exact."""

    kind: str
    tokens: int
    usd_per_million: UsdNumber
    usd: UsdNumber


class LogAnswer(msgspec.Struct, kw_only=True):
    """The answer to one accepted record. `cost` is null where the record could not be priced."""

    log_id: UUID
    cost: UsdNumberOrNull
    timestamp: str
    cost_status: str
    registry_version: str | None
    cost_breakdown: list[AnswerLine]


def as_number(amount: str | None) -> msgspec.Raw:
    """A decimal string as a JSON number with all its digits, None as null."""
    return NULL if amount is None else msgspec.Raw(amount.encode())


def answer_lines(breakdown: list[CostLine]) -> list[AnswerLine]:
    """The lines of an event as those of an answer."""
    return [
        AnswerLine(line.kind, line.tokens, as_number(line.usd_per_million), as_number(line.usd))
        for line in breakdown
    ]
