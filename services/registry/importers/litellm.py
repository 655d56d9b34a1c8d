"""LiteLLM's price file, `model_prices_and_context_window.json`: an object of entries by model name.

Prices are dollars per token; here they are per million. A price's name may end in the number of input tokens
above which it holds, and in a service tier: `output_cost_per_token_above_200k_tokens_priority`. Flex and
priority calls are billed by LiteLLM at the standard price where they have none of their own, and so here;
batches have theirs alone.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from services.registry.importers.imported import (
    MIXED_OUTPUT,
    NO_PRICE,
    OTHER_UNIT,
    PRICING,
    Collector,
    Imported,
)
from services.registry.importers.json_file import UnreadableError, list_files, read_json
from shared.money import EXACT
from shared.pricing.names import strip_provider

_P: Final = "dollars_per_million_tokens_"
_TOKEN_PRICES: Final[dict[str, tuple[str, ...]]] = {
    "input_cost_per_token": (f"{_P}input",),
    "output_cost_per_token": (f"{_P}output",),
    "cache_read_input_token_cost": (f"{_P}cached_input",),
    # Writes of any lifetime, unless those of one hour have their own price, which comes next.
    "cache_creation_input_token_cost": (f"{_P}cache_write_5m", f"{_P}cache_write_1h"),
    "cache_creation_input_token_cost_above_1hr": (f"{_P}cache_write_1h",),
    "input_cost_per_audio_token": (f"{_P}audio_input",),
    "output_cost_per_audio_token": (f"{_P}audio_output",),
    "output_cost_per_reasoning_token": (f"{_P}output_thinking",),
}
_REQUEST_PRICE: Final = "input_cost_per_request"
_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "max_input_tokens": ("max_input_tokens", "max_context"),
    "max_output_tokens": ("max_output_tokens",),
    "deprecation_date": ("deprecated_date",),
    "supports_vision": ("supports_vision",),
    "supports_function_calling": ("supports_function_calling",),
    "supports_parallel_function_calling": ("supports_parallel_tool_calls",),
    "supports_response_schema": ("supports_json_schema",),
    "supports_prompt_caching": ("supports_caching",),
    "supports_reasoning": ("is_reasoning_model",),
    "supports_pdf_input": ("supports_pdf_input",),
    "supports_system_messages": ("supports_system_message",),
    "supports_tool_choice": ("supports_tool_choice",),
    "supports_native_streaming": ("supports_streaming",),
    "supports_audio_input": ("supports_audio",),
}
_OTHER_OUTPUT: Final = (
    "output_cost_per_image",
    "output_cost_per_image_token",
    "output_cost_per_video_per_second",
)
_PROVIDERS: Final = {"gemini": "google"}
"""Providers that this registry knows by another name."""

_EXAMPLE: Final = "sample_spec"
_TIERS: Final = {"batches": "batch", "flex": "flex", "priority": "priority"}
_PRICE: Final = re.compile(
    rf"(?P<name>{'|'.join(sorted(_TOKEN_PRICES, key=len, reverse=True))})"
    r"(?:_above_(?P<above>\d{1,6})k_tokens)?"
    rf"(?:_(?P<tier>{'|'.join(_TIERS)}))?"
)


class _Price(NamedTuple):
    name: str
    above_tokens: int
    tier: str


def read_litellm(paths: Iterable[Path]) -> Imported:
    """Read one file, or several; of a model that comes twice the first entry is taken.

    Raises:
        UnreadableError: a file is not there, is no JSON, or not of this form.
    """
    collector = Collector()
    for path in list_files(paths):
        raw = read_json(path)
        if not isinstance(raw, Mapping):
            raise UnreadableError(f"{path}: is no price file: it must be an object of models by name")
        for name, entry in raw.items():
            if name != _EXAMPLE:
                _read_model(name, entry, collector)
    return collector.collect()


def _read_model(name: str, entry: object, collector: Collector) -> None:
    given = entry.get("litellm_provider") if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(given, str):
        collector.note(name, "model", "left out: it names no litellm_provider")
        return
    provider = _PROVIDERS.get(given, given)
    model_name = strip_provider(given, name) or name
    key = f"{provider}:{model_name}"
    prices: dict[_Price, Any] = {}
    raw: dict[str, Any] = {"provider": provider, "model_name": model_name}
    for field, value in entry.items():
        match = _PRICE.fullmatch(field)
        if value is None or field == "litellm_provider":
            continue
        if match is not None:
            above = int(match["above"] or 0) * 1000
            prices[_Price(match["name"], above, _TIERS.get(match["tier"], "standard"))] = value
        elif field == _REQUEST_PRICE:
            raw["dollars_per_request"] = value
        elif field in _FIELDS:
            raw |= dict.fromkeys(_FIELDS[field], value)
        else:
            collector.note(key, field, "has no field in a model", value)
    reason = _why_unpriced(entry, prices)
    if reason is not None:
        for price in prices:
            collector.note(key, price.name, reason)
        prices = {}
    mapped = _map_prices(prices)
    priced = bool(mapped) or "dollars_per_request" in raw
    if not priced:
        collector.note(key, "prices", NO_PRICE)
    collector.add_model(raw | mapped, key, PRICING if priced else ())


def _why_unpriced(entry: Mapping[str, Any], prices: Mapping[_Price, Any]) -> str | None:
    """Why the prices of tokens would not be what a call costs, if so."""
    if any(field in entry for field in _OTHER_OUTPUT):
        return MIXED_OUTPUT
    if any(prices.values()) or entry.get(_REQUEST_PRICE) is not None:
        return None
    others = (value for field, value in entry.items() if "cost" in field and isinstance(value, int | Decimal))
    # Such as a query: its tokens cost nothing, and the call does.
    return OTHER_UNIT if any(value > 0 for value in others) else None


def _map_prices(prices: Mapping[_Price, Any]) -> dict[str, Any]:
    """The price fields of a model: its own, its long-context steps, and those of its service tiers."""
    tiers = {price.tier for price in prices}
    raw = _map_set(prices, "standard") if tiers else {}
    sets = {tier: _map_set(prices, tier) for tier in sorted(tiers - {"standard"})}
    return raw | {"service_tiers": sets} if sets else raw


def _map_set(prices: Mapping[_Price, Any], tier: str) -> dict[str, Any]:
    source = {price: value for price, value in prices.items() if price.tier == tier}
    if tier in ("flex", "priority"):
        standard = {
            price._replace(tier=tier): value for price, value in prices.items() if price.tier == "standard"
        }
        source = standard | source
    by_step: dict[int, dict[str, Any]] = {}
    for name, fields in _TOKEN_PRICES.items():
        for price, value in source.items():
            if price.name == name:
                by_step.setdefault(price.above_tokens, {}).update(dict.fromkeys(fields, _per_million(value)))
    base = by_step.pop(0, {})
    steps = [{"above_tokens": above, **step} for above, step in sorted(by_step.items())]
    return base | {"long_context_steps": steps} if steps else base


def _per_million(value: object) -> object:
    """A price per million tokens; what is no number stays, for the registry to refuse it."""
    if isinstance(value, Decimal):
        return EXACT.scaleb(value, 6)
    if isinstance(value, int) and not isinstance(value, bool):
        return value * 1_000_000
    return value
