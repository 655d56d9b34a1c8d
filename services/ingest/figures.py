"""What of a usage record is counted or billed, in one short digest: to compare a row with its event."""

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from services.ingest.rollup import model_group_of
from shared.contracts.usage import UsageLogged
from shared.money import plain

FIGURE_COLUMNS = (
    "client_cost",
    "calculated_cost",
    "calculated_status",
    "cost_status",
    "occurred_at",
    "received_at",
    "key_id",
    "provider",
    "model",
    "model_group",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "service_tier",
    "origin",
    "alias",
    "latency_ms",
    "registry_version",
)
"""The columns of `usage.logs` that the digest covers, in this order; the cost stands beside it. What is kept
for its owner alone (metadata, the breakdown, ids of its own) is not among them: a later release may write it
in another way."""

_DIGEST_BYTES = 16
_encode = msgspec.msgpack.Encoder().encode


def figures_of(event: UsageLogged) -> bytes:
    """The digest of an event, as its row must have it."""
    return digest_figures(
        [
            model_group_of(event) if column == "model_group" else getattr(event, column)
            for column in FIGURE_COLUMNS
        ]
    )


def digest_figures(figures: Sequence[Any]) -> bytes:
    """The digest of values in the order of `FIGURE_COLUMNS`. Amounts may be decimals or their plain text."""
    client_cost, calculated_cost, status, cost_status, occurred_at, received_at, key_id, *rest = figures
    comparable = (
        _amount(client_cost),
        _amount(calculated_cost),
        status,
        cost_status,
        occurred_at.timestamp(),
        received_at.timestamp(),
        key_id.bytes,
        rest,
    )
    return hashlib.blake2b(_encode(comparable), digest_size=_DIGEST_BYTES).digest()


def _amount(amount: Decimal | str | None) -> str | None:
    return plain(amount) if isinstance(amount, Decimal) else amount
