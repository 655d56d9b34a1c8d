"""A snapshot as bytes: made once when it is published, and served as they are from then on."""

import hashlib
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from shared.clock import rfc3339
from shared.contracts.registry import (
    PRICE_FIELDS,
    STEP_PRICE_FIELDS,
    LongContextStep,
    Model,
    Prices,
    Provider,
    Snapshot,
)
from shared.money import plain

ALWAYS_SHOWN: Final = frozenset(
    (
        "provider",
        "model_name",
        "display_name",
        "description",
        "model_aliases",
        "max_context",
        "max_input_tokens",
        "max_output_tokens",
        "supports_vision",
        "supports_function_calling",
        "supports_json_mode",
        "supports_parallel_tool_calls",
        "tool_call_format",
        "dollars_per_million_tokens_input",
        "dollars_per_million_tokens_output",
        "is_active",
        "inactive_from",
        "created_at",
        "updated_at",
    )
)
"""The fields of the specification's LLMModel, and a few more, stand in every model, null where unknown. Any
other field stands only where it says something: the published client takes an absent flag for its default,
but refuses a null one."""

_NAMES: Final = tuple(sorted(Model.__struct_fields__))
_PRICE_NAMES: Final = tuple(sorted(PRICE_FIELDS))
_STEP_NAMES: Final = tuple(sorted(STEP_PRICE_FIELDS))
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Snapshot)


class _Entries(msgspec.Struct):
    models: dict[str, msgspec.Raw]


_entries_decoder: Final = msgspec.json.Decoder(_Entries)


def encode_snapshot(snapshot: Snapshot, base: Snapshot | None = None, base_body: bytes = b"") -> bytes:
    """The snapshot's JSON: models in the order of their keys, prices as plain numbers with all digits.

    Args:
        snapshot: the version.
        base: the version that it was built on, where that is at hand: the models that are its very own keep
            their bytes, which is also a good deal faster.
        base_body: the base's bytes.
    """
    kept = {} if base is None else _entries_decoder.decode(base_body).models
    before = {} if base is None else base.models
    return _encoder.encode(
        {
            "version": snapshot.version,
            "generated_at": rfc3339(snapshot.generated_at),
            "effective_from": rfc3339(snapshot.effective_from),
            "models": {
                key: kept[key] if before.get(key) is model else show_model(model)
                for key, model in sorted(snapshot.models.items())
            },
            "providers": {name: show_provider(each) for name, each in sorted(snapshot.providers.items())},
        }
    )


def encode_provider_file(snapshot: Snapshot, provider: str, *, number: int, updated_at: datetime) -> bytes:
    """One provider's models, whole, in the form of the public registry's own files.

    Args:
        snapshot: the version.
        provider: the provider's name.
        number: counts the provider's own versions from 1.
        updated_at: when that one was published.
    """
    return _encoder.encode(
        {
            "provider": provider,
            "version": number,
            "updated_at": rfc3339(updated_at),
            "models": {
                key: show_model(model)
                for key, model in sorted(snapshot.models.items())
                if model.provider == provider
            },
        }
    )


def decode_snapshot(body: bytes) -> Snapshot:
    """What `encode_snapshot` encoded, with exact prices."""
    return _decoder.decode(body)


def digest_of(body: bytes) -> str:
    """SHA-256 of a snapshot's bytes, lower-case hex."""
    return hashlib.sha256(body).hexdigest()


def show_model(model: Model) -> dict[str, Any]:
    """A model as a JSON object."""
    shown: dict[str, Any] = {}
    for name in _NAMES:
        value = getattr(model, name)
        if name == "service_tiers":
            if value:
                shown[name] = {tier: _show_prices(prices) for tier, prices in sorted(value.items())}
        elif name == "long_context_steps":
            if value:
                shown[name] = [_show_step(step) for step in value]
        elif value is not None or name in ALWAYS_SHOWN:
            shown[name] = show_value(value)
    return shown


def show_provider(provider: Provider) -> dict[str, str | None]:
    """A provider as a JSON object."""
    return msgspec.structs.asdict(provider)


def show_value(value: object) -> object:
    """A field's value for JSON: exact numbers, RFC 3339 instants, days."""
    if isinstance(value, Decimal):
        return msgspec.Raw(plain(value).encode())
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list):
        return [show_value(item) for item in value]
    return value


def _show_prices(prices: Prices) -> dict[str, object]:
    shown: dict[str, object] = {
        name: show_value(price) for name in _PRICE_NAMES if (price := getattr(prices, name)) is not None
    }
    if prices.long_context_steps:
        shown["long_context_steps"] = [_show_step(step) for step in prices.long_context_steps]
    return shown


def _show_step(step: LongContextStep) -> dict[str, object]:
    return {"above_tokens": step.above_tokens} | {
        name: show_value(price) for name in _STEP_NAMES if (price := getattr(step, name)) is not None
    }
