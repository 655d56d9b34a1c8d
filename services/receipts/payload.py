"""What a receipt states: pure functions from usage to the facts that are signed."""

from typing import Any
from uuid import UUID

import msgspec

from shared.clock import rfc3339
from shared.contracts.receipts import PAYLOAD_VERSION, ReceiptKind
from shared.contracts.usage import NULL, CostLine, UsageLogged
from shared.proofs.canonical import MAX_SAFE_INTEGER, CanonicalError
from shared.proofs.metadata import metadata_digest

Facts = dict[str, object]

_lines_encoder = msgspec.json.Encoder(order="sorted")
_metadata_decoder = msgspec.json.Decoder(dict[str, Any])


def usage_facts(usage: UsageLogged, registry_digest: str | None) -> Facts:
    """Everything about the usage itself. Amounts are decimal strings; of the metadata, only its digest.

    `repriced_at` is there only where the cost was found later.

    Raises:
        CanonicalError: the metadata has no digest.
        msgspec.DecodeError: the metadata is no JSON object.
    """
    metadata = usage.metadata
    late = {} if usage.repriced_at is None else {"repriced_at": rfc3339(usage.repriced_at)}
    return {
        **late,
        "account_id": str(usage.account_id),
        "alias": usage.alias,
        "api_key_id": str(usage.key_id),
        "audio_input_tokens": usage.audio_input_tokens,
        "audio_output_tokens": usage.audio_output_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "cache_write_5m_tokens": usage.cache_write_5m_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "calculated_cost": usage.calculated_cost,
        "calculated_status": usage.calculated_status,
        "client_cost": usage.client_cost,
        "cost": usage.cost,
        "cost_breakdown": _write_lines(usage.cost_breakdown),
        "cost_status": usage.cost_status,
        "currency": "USD",
        "id_at_origin": usage.id_at_origin,
        "input_tokens": usage.input_tokens,
        "latency_ms": usage.latency_ms,
        "log_id": str(usage.log_id),
        "metadata_digest": None
        if not metadata or metadata == NULL
        else metadata_digest(_metadata_decoder.decode(metadata)),
        "model": usage.model,
        "model_key": usage.model_key,
        "occurred_at": rfc3339(usage.occurred_at),
        "origin": usage.origin,
        "output_tokens": usage.output_tokens,
        "profile": usage.profile,
        "provider": usage.provider,
        "reasoning_tokens": usage.reasoning_tokens,
        "received_at": rfc3339(usage.received_at),
        "registry_digest": registry_digest,
        "registry_version": usage.registry_version,
        "service_tier": usage.service_tier,
    }


def _write_lines(lines: list[CostLine]) -> msgspec.Raw:
    """The lines in their canonical form, which costs half of what building them as objects would."""
    if any(not -MAX_SAFE_INTEGER <= line.tokens <= MAX_SAFE_INTEGER for line in lines):
        raise CanonicalError("an integer is beyond 2^53-1")
    try:
        return msgspec.Raw(_lines_encoder.encode(lines))
    except UnicodeEncodeError:
        raise CanonicalError("a string holds a lone surrogate") from None


def add_issue(
    facts: Facts,
    *,
    kind: ReceiptKind,
    receipt_id: UUID,
    account_sequence: int,
    key_id: str,
    issued_at: str,
    nonce: bytes,
) -> Facts:
    """Add to the facts who issued the receipt, when, and as which of the account's receipts.

    Args:
        facts: completed in place.
        kind: whether the server recorded the usage itself.
        receipt_id: the receipt's name.
        account_sequence: 1 for the account's first receipt, then without a gap, so that a receipt left out
            is as visible as one that was changed.
        key_id: the key that signs.
        issued_at: now, as RFC 3339.
        nonce: 128 random bits, so that nobody can guess a receipt from its hash.
    """
    facts["v"] = PAYLOAD_VERSION
    facts["kind"] = kind
    facts["receipt_id"] = str(receipt_id)
    facts["account_sequence"] = account_sequence
    facts["key_id"] = key_id
    facts["issued_at"] = issued_at
    facts["nonce"] = nonce.hex()
    return facts
