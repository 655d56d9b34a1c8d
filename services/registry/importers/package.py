"""The package `genai-prices`: prices of some fifty providers, as old as the installed package.

It is read from the package's own data; nothing is asked of any network. Taken is what is in force at one
instant. A model whose price depends on the time of day, or whose output is images too, is listed without a
price: a version has one price of output.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final

from genai_prices.data import providers as package_providers
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    ConditionalPrice,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    TimeOfDateConstraint,
)

from services.registry.fields import MAX_ALIASES, UnfitError, read_name
from services.registry.importers.imported import MIXED_OUTPUT, NO_PRICE, PRICING, Collector, Imported
from services.registry.importers.package_prices import list_prices, list_unmapped, map_sets
from shared.pricing.names import strip_provider

PACKAGE: Final = "genai-prices"

SERVICE_TIERS: Final = {
    ("processing", "batch"): "batch",
    ("service_tier", "flex"): "flex",
    ("service_tier", "priority"): "priority",
    ("service_tier", "default"): "standard",
}
"""The request contexts of the package that are service tiers here."""

BY_TIME_OF_DAY: Final = "depends on the time of day: the model has no price here"
LATER: Final = "holds later; import again then"
EARLIER: Final = "held earlier"
NO_UNIT: Final = "prices something that a usage record does not count"
NO_TIER: Final = "is for a kind of request that is no service tier here"
NO_MATCH: Final = "is no exact name; a record with another spelling is not priced"
NO_FIELD: Final = "has no field in a model or provider"

_OTHER_OUTPUT: Final = {"output_image_mtok", "output_video_mtok"}
"""Output that costs ten times what text does, and is the most of such a model's output."""

_PROVIDER_FIELDS: Final = (
    "pricing_urls",
    "description",
    "price_comments",
    "model_match",
    "provider_match",
    "extractors",
    "fallback_model_providers",
)
_PLAIN_URL: Final = re.compile(r"https?://[\w./-]+", re.ASCII)
_END_OF_PATTERN: Final = re.compile(r"\((?:\?:)?/\|\$\)$")


def describe_package() -> str:
    """The name and version of what is installed."""
    return f"{PACKAGE} {version(PACKAGE)}"


def read_package(at: datetime) -> Imported:
    """Read all providers and models of the installed package, with the prices in force at an instant."""
    collector = Collector()
    for provider in package_providers:
        _read_provider(provider, collector)
        for model in provider.models:
            _read_model(provider, model, at, collector)
    return collector.collect()


def _read_provider(provider: Provider, collector: Collector) -> None:
    url = _END_OF_PATTERN.sub("", provider.api_pattern).replace("\\.", ".")
    if _PLAIN_URL.fullmatch(url):
        collector.add_provider(provider.id, {"name": provider.name, "base_url": url.rstrip("/")})
    else:
        collector.add_provider(provider.id, {"name": provider.name})
        collector.note(provider.id, "api_pattern", "is no single address", provider.api_pattern)
    for name in _PROVIDER_FIELDS:
        if getattr(provider, name):
            collector.note(provider.id, name, NO_FIELD)


def _read_model(provider: Provider, model: ModelInfo, at: datetime, collector: Collector) -> None:
    key = f"{provider.id}:{model.id}"
    said = {
        "display_name": model.name,
        "description": model.description,
        "max_input_tokens": model.context_window,
        "max_context": model.context_window,
    }
    raw: dict[str, Any] = {"provider": provider.id, "model_name": model.id}
    raw |= {name: value for name, value in said.items() if value is not None}
    aliases = list(_read_aliases(provider.id, model, key, collector))
    if aliases:
        raw["model_aliases"] = aliases
    for name in ("price_comments", "deprecated"):
        if getattr(model, name):
            collector.note(key, name, NO_FIELD)
    prices = _read_prices(model, at, key, collector)
    collector.add_model(raw | prices, key, PRICING if prices else ())


def _read_aliases(provider: str, model: ModelInfo, key: str, collector: Collector) -> Iterator[str]:
    seen = {model.id}
    for clause in _list_clauses(model.match):
        if not isinstance(clause, ClauseEquals):
            collector.note(key, "match", NO_MATCH, clause)
            continue
        name = clause.equals
        if name in seen or strip_provider(provider, name) == model.id:
            continue  # the model's own name, with or without its provider
        seen.add(name)
        try:
            read_name(name)
        except UnfitError as error:
            collector.note(key, "match", f"an alias {error}", name)
            continue
        if len(seen) > MAX_ALIASES:
            collector.note(key, "match", f"a model has at most {MAX_ALIASES} aliases", name)
            continue
        yield name


def _list_clauses(match: MatchLogic) -> list[MatchLogic]:
    """The alternatives of a match, each one clause."""
    if isinstance(match, ClauseOr):
        return [clause for each in match.or_ for clause in _list_clauses(each)]
    return [match]


def _read_prices(model: ModelInfo, at: datetime, key: str, collector: Collector) -> dict[str, Any]:
    conditions = _list_conditions(model)
    in_force = model.get_prices(at)
    reason = _why_unpriced(conditions, in_force)
    if reason is not None:
        for each in conditions:
            collector.note(key, "prices", reason, each)
        for variant in model.price_variants or ():
            collector.note(key, "price_variants", reason, variant)
        return {}
    for each in conditions:
        if each.prices is not in_force:
            collector.note(key, "prices", LATER if _is_later(each, at) else EARLIER, each)
    sets = {"standard": in_force, **_read_variants(model, at, key, collector)}
    for name in list_unmapped(in_force):
        collector.note(key, name, NO_UNIT, list_prices(in_force)[name])
    mapped = map_sets(sets)
    if not mapped:
        collector.note(key, "prices", NO_PRICE)
    return mapped


def _why_unpriced(conditions: Sequence[ConditionalPrice], in_force: ModelPrice) -> str | None:
    """Why no price of a model would be the right one, if so."""
    if any(isinstance(each.constraint, TimeOfDateConstraint) for each in conditions):
        return BY_TIME_OF_DAY
    if _OTHER_OUTPUT & list_prices(in_force).keys():
        return MIXED_OUTPUT
    return None


def _list_conditions(model: ModelInfo) -> list[ConditionalPrice]:
    if isinstance(model.prices, ModelPrice):
        return [ConditionalPrice(prices=model.prices)]
    return model.prices


def _is_later(price: ConditionalPrice | PriceVariant, at: datetime) -> bool:
    return isinstance(price.constraint, StartDateConstraint) and not price.constraint.active(at)


def _read_variants(model: ModelInfo, at: datetime, key: str, collector: Collector) -> dict[str, ModelPrice]:
    """The price sets of service tiers; a variant's prices stand in the place of the standard ones."""
    taken: dict[str, ModelPrice] = {}
    covered: dict[str, set[str]] = {}
    for variant in model.price_variants or ():
        context = next(iter(variant.when.items())) if len(variant.when) == 1 else ("", "")
        tier = SERVICE_TIERS.get(context)
        if tier is None or (tier == "standard" and list_prices(variant.prices)):
            collector.note(key, "price_variants", NO_TIER, variant)
        elif isinstance(variant.constraint, TimeOfDateConstraint):
            collector.note(key, "price_variants", BY_TIME_OF_DAY, variant)
        elif _is_later(variant, at):
            collector.note(key, "price_variants", LATER, variant)
        elif tier != "standard":
            # The first variant that has a price gives it.
            shadowed = covered.setdefault(tier, set()) & list_prices(variant.prices).keys()
            if shadowed:
                collector.note(key, "price_variants", EARLIER, variant)
            covered[tier] |= list_prices(variant.prices).keys()
            taken[tier] = model.get_prices(at, dict([context]))
            for name in list_unmapped(variant.prices):
                collector.note(key, f"{tier}.{name}", NO_UNIT, list_prices(variant.prices)[name])
    return taken
