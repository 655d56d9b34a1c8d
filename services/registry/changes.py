"""What is different between two versions, as a list of single changes."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from services.registry.snapshot import show_model, show_value
from shared.contracts.changes import Change, ChangeType, ProviderChange, ProviderChangeType
from shared.contracts.registry import (
    PRICE_FIELDS,
    STEP_PRICE_FIELDS,
    LongContextStep,
    Model,
    Prices,
    Provider,
    TokenPrices,
)

PRICING: Final = frozenset(
    (*PRICE_FIELDS, "cache_storage_cost_per_million_tokens_per_hour", "long_context_pricing")
)
"""The fields, besides `service_tiers`, that say what something costs."""

_LIMITS: Final = frozenset(
    (
        "max_input_tokens",
        "max_output_tokens",
        "max_tools",
        "max_temperature",
        "min_temperature",
        "temperature_values",
        "min_recommended_reasoning_tokens",
        "long_context_threshold_tokens",
    )
)
_SILENT: Final = frozenset(("created_at", "updated_at", "max_context"))
"""Dates that the registry keeps, and the second name of `max_input_tokens`."""

_NO_PRICES: Final = Prices()
_NO_TOKEN_PRICES: Final = TokenPrices()


def list_changes(
    before: Mapping[str, Model], after: Mapping[str, Model], *, whole: bool = False
) -> list[Change]:
    """Every change from one version's models to another's, in the order of keys and fields.

    Numbers are compared by value (0.40 is 0.4) and an absent field is a null one. The changes from B to A are
    those from A to B with old and new exchanged. The dates that the registry keeps by itself are not told.

    Args:
        before: the models by key.
        after: the models by key.
        whole: tell all that is needed to make the one from the other: the entries of models that came or
            went, too, and what follows from a change that is told anyway.
    """
    changes: list[Change] = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            changes.append(_came_or_went(key, old, new, whole=whole))
        elif old != new:
            changes += [
                _change(key, field, was, now, new) for field, was, now in _differences(old, new, whole=whole)
            ]
    return changes


def list_provider_changes(
    before: Mapping[str, Provider], after: Mapping[str, Provider]
) -> list[ProviderChange]:
    """Every change from one version's provider entries to another's, in the order of names and fields."""
    changes: list[ProviderChange] = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            kind: ProviderChangeType = "provider.added" if old is None else "provider.removed"
            changes.append(
                ProviderChange(
                    type=kind,
                    provider=name,
                    old=msgspec.UNSET if old is None else old,
                    new=msgspec.UNSET if new is None else new,
                )
            )
            continue
        changes += [
            ProviderChange(type="provider.changed", provider=name, field=field, old=was, new=now)
            for field in Provider.__struct_fields__
            if (was := getattr(old, field)) != (now := getattr(new, field))
        ]
    return changes


def list_price_moves(old: Model, new: Model) -> Iterator[tuple[str, Decimal, Decimal]]:
    """The prices of a model, tiers included, that were and are numbers and differ: field, old, new."""
    for field, was, now in _differences(old, new):
        if isinstance(was, Decimal) and isinstance(now, Decimal) and _type_of(field) == "price.changed":
            yield field, was, now


def _came_or_went(key: str, old: Model | None, new: Model | None, *, whole: bool) -> Change:
    return Change(
        type="model.added" if old is None else "model.removed",
        model=key,
        old=show_model(old) if whole and old is not None else msgspec.UNSET,
        new=show_model(new) if whole and new is not None else msgspec.UNSET,
    )


def _differences(old: Model, new: Model, *, whole: bool = False) -> Iterator[tuple[str, Any, Any]]:
    for field in sorted(Model.__struct_fields__):
        was, now = getattr(old, field), getattr(new, field)
        if was == now or field in _SILENT:
            continue
        if field == "inactive_from" and old.is_active != new.is_active and not whole:
            continue  # it follows from the retirement, which is told
        if field == "service_tiers":
            for tier in sorted(was.keys() | now.keys()):
                for price, *pair in _price_differences(
                    was.get(tier, _NO_PRICES), now.get(tier, _NO_PRICES), PRICE_FIELDS
                ):
                    yield f"service_tiers.{tier}.{price}", *pair
        elif field == "long_context_steps":
            yield from _step_differences(was, now)
        else:
            yield field, was, now


def _price_differences(
    old: TokenPrices, new: TokenPrices, fields: Sequence[str]
) -> Iterator[tuple[str, Any, Any]]:
    for price in fields:
        was, now = getattr(old, price), getattr(new, price)
        if was != now:
            yield price, was, now
    if isinstance(old, Prices) and isinstance(new, Prices):
        yield from _step_differences(old.long_context_steps, new.long_context_steps)


def _step_differences(
    old: Sequence[LongContextStep], new: Sequence[LongContextStep]
) -> Iterator[tuple[str, Any, Any]]:
    """Step by step, each named by its number of tokens: `long_context_steps.200000.<price>`."""
    was = {step.above_tokens: step for step in old}
    now = {step.above_tokens: step for step in new}
    for above_tokens in sorted(was.keys() | now.keys()):
        for price, *pair in _price_differences(
            was.get(above_tokens, _NO_TOKEN_PRICES),
            now.get(above_tokens, _NO_TOKEN_PRICES),
            STEP_PRICE_FIELDS,
        ):
            yield f"long_context_steps.{above_tokens}.{price}", *pair


def _change(key: str, field: str, was: object, now: object, new: Model) -> Change:
    kind = _type_of(field)
    if field == "is_active":
        kind = "model.reactivated" if now else "model.deprecated"
    elif field == "deprecated_date" and was is None and new.is_active:
        kind = "model.deprecated"
    return Change(type=kind, model=key, field=field, old=show_value(was), new=show_value(now))


def _type_of(field: str) -> ChangeType:
    if field in PRICING or field.startswith(("service_tiers.", "long_context_steps.")):
        return "price.changed"
    if field in _LIMITS:
        return "limit.changed"
    if field.startswith("supports_") or field in ("is_reasoning_model", "requires_flat_input"):
        return "capability.changed"
    return "model.changed"
