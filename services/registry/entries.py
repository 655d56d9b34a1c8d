"""One published entry into a `Model` or a `Provider`, with every fault in it named at once."""

from collections.abc import Mapping
from typing import Any, Final

from services.registry.fields import READERS, Reader, UnfitError, read_text
from shared.contracts.registry import PRICE_FIELDS, TIERED_SERVICES, Model, Prices, Provider
from shared.errors import Fault

_LIMIT_NAMES: Final = ("max_input_tokens", "max_context", "context_window_tokens")
"""One limit under its three names: the public registry's, the specification's, and an older one."""

_PRICE_PREFIXES: Final = ("dollars_per_", "cache_storage_cost_")
_PRICE_READERS: Final = {name: READERS[name] for name in PRICE_FIELDS}
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
    _join_limits(raw, values, path, faults)
    if faults:
        return None, faults
    values.setdefault("display_name", values["model_name"])
    if values.get("long_context_threshold_tokens") and any(name in values for name in _LONG_PRICES):
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
            tiers[tier] = Prices(**_read_fields(raw[tier], f"{path}.{tier}", _PRICE_READERS, faults))
    return tiers


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
    for prefix, prices in ((path, model), *_tier_paths(model, path)):
        cached, cache_read = getattr(prices, _CACHED), getattr(prices, _CACHE_READ)
        if cached is not None and cache_read is not None and cached != cache_read:
            faults.append(
                Fault(f"{prefix}.{_CACHE_READ}", f"is the same price as {_CACHED}, and they differ")
            )
        if model.long_context_threshold_tokens is None:
            faults += [
                Fault(f"{prefix}.{name}", "needs long_context_threshold_tokens")
                for name in _LONG_PRICES
                if getattr(prices, name) is not None
            ]
    return faults


def _tier_paths(model: Model, path: str) -> list[tuple[str, Prices]]:
    return [(f"{path}.service_tiers.{tier}", prices) for tier, prices in model.service_tiers.items()]
