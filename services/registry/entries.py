"""One published entry into a `Model` or a `Provider`, with every fault in it named at once."""

from collections.abc import Mapping
from typing import Any, Final

from services.registry.fields import READERS, Reader, UnfitError, read_text, read_threshold
from shared.contracts.registry import (
    PRICE_FIELDS,
    STEP_PRICE_FIELDS,
    TIERED_SERVICES,
    LongContextStep,
    Model,
    Prices,
    Provider,
    TokenPrices,
)
from shared.errors import Fault

_LIMIT_NAMES: Final = ("max_input_tokens", "max_context", "context_window_tokens")
"""One limit under its three names: the public registry's, the specification's, and an older one."""

_PRICE_PREFIXES: Final = ("dollars_per_", "cache_storage_cost_")
_PRICE_READERS: Final = {name: READERS[name] for name in PRICE_FIELDS}
_STEP_READERS: Final[dict[str, Reader]] = {
    "above_tokens": read_threshold,
    **{name: READERS[name] for name in STEP_PRICE_FIELDS},
}
_MAX_STEPS: Final = 10
_NO_PRICES: Final = Prices()
_CACHED: Final = "dollars_per_million_tokens_cached_input"
_CACHE_READ: Final = "dollars_per_million_tokens_cache_read"
_LONG_PRICES: Final = tuple(name for name in PRICE_FIELDS if name.endswith("_long_context"))


def read_entry(raw: object, path: str) -> tuple[Model | None, list[Fault]]:
    """Read one model.

    Fields that are not known are ignored, as everywhere in this API, except for one that looks like a price:
    it would be lost without a word. What the registry keeps itself (`created_at`, `updated_at`) is ignored
    too, so that an entry can be sent back as it was served.

    Args:
        raw: the decoded JSON value.
        path: how to name the entry in a fault, such as `models[3]`.
    """
    if not isinstance(raw, Mapping):
        return None, [Fault(path, "must be an object with the fields of a model")]
    faults: list[Fault] = []
    values = _read_fields(raw, path, READERS, faults)
    faults += [
        Fault(f"{path}.{name}", "is required") for name in ("provider", "model_name") if name not in raw
    ]
    values["service_tiers"] = _read_tiers(raw.get("service_tiers"), f"{path}.service_tiers", faults)
    values["long_context_steps"] = _read_steps(raw, path, faults)
    _join_limits(raw, values, path, faults)
    if faults:
        return None, faults
    values.setdefault("display_name", values["model_name"])
    threshold = values.get("long_context_threshold_tokens")
    if values["long_context_steps"] or (threshold and any(name in values for name in _LONG_PRICES)):
        values["supports_long_context_pricing"] = True
    model = Model(**values)
    faults = _contradictions(model, path)
    return (None if faults else model), faults


def read_provider_entry(name: str, raw: object) -> tuple[Provider | None, list[Fault]]:
    """Read one provider of the publish request's `providers`."""
    path = f"providers.{name}"
    if not isinstance(raw, Mapping):
        return None, [Fault(path, "must be an object with name, base_url and models_endpoint")]
    readers: dict[str, Reader] = dict.fromkeys(("name", "base_url", "models_endpoint"), read_text)
    faults: list[Fault] = []
    values = _read_fields(raw, path, readers, faults)
    values.setdefault("name", name)
    url = values.get("base_url")
    if url is not None and not url.startswith(("https://", "http://")):
        faults.append(Fault(f"{path}.base_url", "must be a URL, https://..."))
    return (None if faults else Provider(**values)), faults


def _read_fields(
    raw: Mapping[str, object], path: str, readers: Mapping[str, Reader], faults: list[Fault]
) -> dict[str, Any]:
    """The values of the fields that were given and are not null; null is the same as absent."""
    values: dict[str, Any] = {}
    for name, given in raw.items():
        reader = readers.get(name)
        if reader is None:
            if name.startswith(_PRICE_PREFIXES):
                faults.append(Fault(f"{path}.{name}", "is not a price that this registry knows"))
            continue
        try:
            value = reader(given)
        except UnfitError as error:
            faults.append(Fault(f"{path}.{name}", str(error)))
            continue
        if value is not None:
            values[name] = value
    return values


def _read_tiers(raw: object, path: str, faults: list[Fault]) -> dict[str, Prices]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        faults.append(Fault(path, f"must be an object with price sets of {', '.join(TIERED_SERVICES)}"))
        return {}
    tiers: dict[str, Prices] = {}
    for tier in sorted(raw):
        if tier not in TIERED_SERVICES:
            names = ", ".join(TIERED_SERVICES)
            faults.append(
                Fault(f"{path}.{tier}", f"is none of {names}; the model's own prices are 'standard'")
            )
        elif not isinstance(raw[tier], Mapping):
            faults.append(Fault(f"{path}.{tier}", "must be an object with prices"))
        else:
            prices = Prices(
                **_read_fields(raw[tier], f"{path}.{tier}", _PRICE_READERS, faults),
                long_context_steps=_read_steps(raw[tier], f"{path}.{tier}", faults),
            )
            if prices != _NO_PRICES:  # a set without a price says what no set says
                tiers[tier] = prices
    return tiers


def _read_steps(raw: Mapping[str, object], path: str, faults: list[Fault]) -> list[LongContextStep]:
    """The long-context steps of a price set, lowest first in whatever order they came."""
    path = f"{path}.long_context_steps"
    given = raw.get("long_context_steps")
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > _MAX_STEPS:
        faults.append(Fault(path, f"must be a list of at most {_MAX_STEPS} objects"))
        return []
    steps: dict[int, LongContextStep] = {}
    for index, entry in enumerate(given):
        here = f"{path}[{index}]"
        if not isinstance(entry, Mapping):
            faults.append(Fault(here, "must be an object with above_tokens and prices"))
            continue
        before = len(faults)
        values = _read_fields(entry, here, _STEP_READERS, faults)
        if len(faults) > before:
            continue
        if "above_tokens" not in values:
            faults.append(Fault(f"{here}.above_tokens", "is required"))
        elif len(values) == 1:
            faults.append(Fault(here, "has no price"))
        elif values["above_tokens"] in steps:
            faults.append(Fault(f"{here}.above_tokens", f"is {values['above_tokens']} again"))
        else:
            steps[values["above_tokens"]] = LongContextStep(**values)
    return [steps[above_tokens] for above_tokens in sorted(steps)]


def _join_limits(raw: Mapping[str, object], values: dict[str, Any], path: str, faults: list[Fault]) -> None:
    """Make the input limit's names agree; the older one is read where the others are not given."""
    given: dict[str, int] = {name: values[name] for name in _LIMIT_NAMES if name in values}
    older = raw.get("context_window_tokens")
    if not given and older is not None:
        try:
            given = {"context_window_tokens": READERS["max_input_tokens"](older)}
        except UnfitError as error:
            faults.append(Fault(f"{path}.context_window_tokens", str(error)))
            return
    if len(set(given.values())) > 1:
        faults.append(Fault(f"{path}.max_context", "is the same limit as max_input_tokens, and they differ"))
    for limit in given.values():
        values["max_context"] = values["max_input_tokens"] = limit


def _contradictions(model: Model, path: str) -> list[Fault]:
    faults: list[Fault] = []
    for prefix, prices in _list_sets(model, path):
        faults += _two_prices_of_one(prefix, prices)
        if model.long_context_threshold_tokens is None:
            faults += [
                Fault(f"{prefix}.{name}", "needs long_context_threshold_tokens")
                for name in _LONG_PRICES
                if getattr(prices, name) is not None
            ]
        if not prices.long_context_steps:
            continue
        steps_path = f"{prefix}.long_context_steps"
        if model.long_context_threshold_tokens is not None:
            faults.append(Fault(steps_path, "stands in the place of long_context_threshold_tokens"))
        if model.long_context_pricing == "marginal":
            faults.append(Fault(steps_path, "holds for whole requests, and long_context_pricing is marginal"))
        for index, step in enumerate(prices.long_context_steps):
            faults += _two_prices_of_one(f"{steps_path}[{index}]", step)
    return faults


def _two_prices_of_one(path: str, prices: TokenPrices) -> list[Fault]:
    cached, cache_read = getattr(prices, _CACHED), getattr(prices, _CACHE_READ)
    if cached is None or cache_read is None or cached == cache_read:
        return []
    return [Fault(f"{path}.{_CACHE_READ}", f"is the same price as {_CACHED}, and they differ")]


def _list_sets(model: Model, path: str) -> list[tuple[str, Prices]]:
    tiers = [(f"{path}.service_tiers.{tier}", prices) for tier, prices in model.service_tiers.items()]
    return [(path, model), *tiers]
