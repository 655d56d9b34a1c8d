"""From a checked `UsageLog` and its price to the record that is logged, or declared in a receipt."""

import hashlib
from copy import copy
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from shared.clock import parse_rfc3339, rfc3339
from shared.contracts.keys import Principal
from shared.contracts.usage import ABSENT, NULL, CostLine, UsageLog, UsageLogged
from shared.errors import InvalidFieldError
from shared.intake.parse import parse_cost
from shared.money import plain
from shared.pricing.cards import STANDARD
from shared.pricing.rates import Quote
from shared.pricing.tokens import Tokens, find_token_faults

_digest_encoder = msgspec.json.Encoder(order="sorted")


def tokens_of(log: UsageLog, *, billed_by_us: bool) -> Tokens:
    """The counts of a record, as they are priced.

    Args:
        log: the record.
        billed_by_us: whether the cost is to be calculated, so that the counts must add up.

    Raises:
        InvalidFieldError: parts are greater than their whole, and `billed_by_us`.
    """
    tokens = count_tokens(log)
    if billed_by_us and (faults := find_token_faults(tokens)):
        raise InvalidFieldError.all(faults)
    return tokens


def count_tokens(record: UsageLog | UsageLogged) -> Tokens:
    """The counts of a record under the names that pricing gives them."""
    return Tokens(
        input=record.input_tokens,
        output=record.output_tokens,
        cached_input=record.cached_input_tokens,
        cache_write_5m=record.cache_write_5m_tokens,
        cache_write_1h=record.cache_write_1h_tokens,
        reasoning=record.reasoning_tokens,
        audio_input=record.audio_input_tokens,
        audio_output=record.audio_output_tokens,
    )


def cost_lines(quote: Quote) -> list[CostLine]:
    """The lines of a quote as an event carries them."""
    return [
        CostLine(line.kind, line.tokens, plain(line.usd_per_million), plain(line.usd)) for line in quote.lines
    ]


def digest_of(log: UsageLog, occurred_at: datetime | None = None) -> bytes:
    """A digest of what a checked record says, however it was written.

    White space, the order of keys, unknown fields, defaults that are spelled out, the notation of numbers and
    of times make no difference. A field that is newer than digests is left out where it says nothing, so that
    those of older records stay what they were.

    Args:
        log: the record.
        occurred_at: what `parse_timestamp` made of its time, where that was done already.
    """
    cost = parse_cost(log)
    timestamp = log.timestamp
    if timestamp is not None and not _is_as_we_write(timestamp):
        timestamp = rfc3339(occurred_at or parse_rfc3339(timestamp))
    said = copy(log)
    said.idempotency_key = None
    said.service_tier = log.service_tier or STANDARD
    said.timestamp = timestamp
    said.cost = NULL if cost is None else msgspec.Raw(plain(cost).encode())
    said.metadata = NULL
    if log.metadata not in (ABSENT, NULL):
        said.metadata = msgspec.Raw(_digest_encoder.encode(msgspec.json.decode(log.metadata)))
    if log.reservation_id is None:
        said.reservation_id = msgspec.UNSET  # type: ignore[assignment]  # an encoder leaves it out
    return hashlib.sha256(_digest_encoder.encode(said)).digest()


def _is_as_we_write(timestamp: str) -> bool:
    """Whether a time that was read is written as `rfc3339` would: whole seconds, in UTC."""
    return len(timestamp) == len("2026-05-03T12:00:00Z") and timestamp[10] == "T" and timestamp[-1] == "Z"


def build_usage(
    principal: Principal,
    log: UsageLog,
    *,
    log_id: UUID,
    occurred_at: datetime,
    received_at: datetime,
    idempotency_key: str | None,
    body_digest: bytes | None = None,
    client_cost: Decimal | None,
    model_key: str | None,
    quote: Quote,
    registry_version: str | None,
) -> UsageLogged:
    """The record. The client's cost, where it gave one, is what every sum will use."""
    calculated = None if quote.cost is None else plain(quote.cost)
    given = None if client_cost is None else plain(client_cost)
    return UsageLogged(
        log_id=log_id,
        account_id=principal.account_id,
        key_id=principal.key_id,
        occurred_at=occurred_at,
        received_at=received_at,
        provider=log.provider or "",
        model=log.model,
        model_key=model_key,
        input_tokens=log.input_tokens,
        output_tokens=log.output_tokens,
        cached_input_tokens=log.cached_input_tokens,
        cache_write_5m_tokens=log.cache_write_5m_tokens,
        cache_write_1h_tokens=log.cache_write_1h_tokens,
        reasoning_tokens=log.reasoning_tokens,
        audio_input_tokens=log.audio_input_tokens,
        audio_output_tokens=log.audio_output_tokens,
        service_tier=log.service_tier or STANDARD,
        alias=log.alias,
        profile=log.profile,
        origin=log.origin,
        id_at_origin=log.id_at_origin,
        latency_ms=log.latency_ms,
        metadata=log.metadata or NULL,
        idempotency_key=idempotency_key,
        body_digest=body_digest,
        client_cost=given,
        calculated_cost=calculated,
        calculated_status=quote.status,
        cost=calculated if given is None else given,
        cost_status=quote.status if given is None else "client",
        registry_version=registry_version,
        cost_breakdown=cost_lines(quote),
        reservation_id=log.reservation_id,
    )
