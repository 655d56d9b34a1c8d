"""Whatever the package says either stands in an entry or is told; nothing is lost without a word."""

from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data import providers as package_providers
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
)

from services.registry.importers.imported import PRICING, Imported
from services.registry.importers.package import SERVICE_TIERS, read_package
from services.registry.importers.package_prices import REQUEST_PRICE, TOKEN_PRICES
from shared.contracts.registry import Model, Prices

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)


class Told:
    """The notes of an import, to be asked whether something was told."""

    def __init__(self, imported: Imported) -> None:
        self._fields = {(note.subject, note.field) for note in imported.notes}
        self._details = {(note.subject, note.field, note.detail) for note in imported.notes}

    def of(self, subject: str, field: str, detail: object = None) -> bool:
        if detail is None:
            return (subject, field) in self._fields
        return (subject, field, str(detail)) in self._details


def names_of(prices: ModelPrice) -> set[str]:
    return {name for name, price in vars(prices).items() if price is not None}


def missing_prices(prices: ModelPrice, entry: Prices) -> set[str]:
    """The package's prices that an entry does not show."""
    return {
        name
        for name in names_of(prices)
        if not any(
            getattr(entry, field) is not None
            for field in ("dollars_per_request",) * (name == REQUEST_PRICE) + TOKEN_PRICES.get(name, ())
        )
    }


def test_every_field_of_every_provider_lands_or_is_told() -> None:
    imported = read_package(AT)
    told = Told(imported)
    lost: list[tuple[str, str]] = []
    for provider in package_providers:
        entry = imported.providers[provider.id]
        assert entry.name == provider.name
        for field in fields(Provider):
            landed = field.name in ("id", "name", "models") or (
                field.name == "api_pattern" and entry.base_url is not None
            )
            if getattr(provider, field.name) and not landed and not told.of(provider.id, field.name):
                lost.append((provider.id, field.name))
    assert lost == []
    assert {imported.providers[name].base_url for name in ("openai", "arcee", "aws")} == {
        "https://api.openai.com",
        "https://api.arcee.ai",
        None,
    }


def test_every_field_of_every_model_lands_or_is_told() -> None:
    imported = read_package(AT)
    told = Told(imported)
    lost: list[tuple[str, str, Any]] = []
    for provider in package_providers:
        for model in provider.models:
            key = f"{provider.id}:{model.id}"
            entry = imported.models[key].model
            lost += [(key, "prices", each) for each in lost_prices(model, key, entry, told)]
            lost += [(key, "price_variants", each) for each in lost_variants(model, key, entry, told)]
            lost += [(key, "match", each) for each in lost_names(model, key, entry, told)]
            landed = {
                "id": entry.model_name == model.id,
                "name": model.name is None or entry.display_name == model.name,
                "description": entry.description == model.description,
                "context_window": entry.max_input_tokens == entry.max_context == model.context_window,
            }
            for field in fields(ModelInfo):
                if field.name in ("prices", "price_variants", "match"):
                    continue
                lands = landed.get(field.name, not getattr(model, field.name))
                if not lands and not told.of(key, field.name):
                    lost.append((key, field.name, getattr(model, field.name)))
    assert lost == []
    assert len(imported.models) == sum(len(provider.models) for provider in package_providers)


def lost_prices(model: ModelInfo, key: str, entry: Model, told: Told) -> list[Any]:
    if isinstance(model.prices, ModelPrice):
        conditions = [ConditionalPrice(prices=model.prices)]
    else:
        conditions = model.prices
    in_force = model.get_prices(AT)
    lost: list[Any] = []
    for each in conditions:
        if each.prices is in_force and not told.of(key, "prices", each):
            lost += [name for name in missing_prices(in_force, entry) if not told.of(key, name)]
            if not names_of(in_force) and not told.of(key, "prices"):
                lost.append(each)
        elif not told.of(key, "prices", each):
            lost.append(each)
    return lost


def lost_variants(model: ModelInfo, key: str, entry: Model, told: Told) -> list[Any]:
    lost: list[Any] = []
    for variant in model.price_variants or ():
        if told.of(key, "price_variants", variant):
            continue
        tiers = [SERVICE_TIERS.get(context, "") for context in variant.when.items()]
        if tiers == ["standard"] and not names_of(variant.prices):
            continue
        missing = missing_prices(variant.prices, entry.service_tiers.get(tiers[0], Prices()))
        lost += [name for name in missing if not told.of(key, f"{tiers[0]}.{name}")]
    return lost


def lost_names(model: ModelInfo, key: str, entry: Model, told: Told) -> list[Any]:
    clauses = model.match.or_ if isinstance(model.match, ClauseOr) else [model.match]
    names = {model.id, key, key.replace(":", "/", 1), *entry.model_aliases}
    return [
        clause
        for clause in clauses
        if not (isinstance(clause, ClauseEquals) and clause.equals in names)
        and not told.of(key, "match", clause)
    ]


def test_prices_are_those_in_force_at_the_instant_of_the_import() -> None:
    field = "dollars_per_million_tokens_input"
    now, later = (
        read_package(at).models["google:gemini-3.8-flash-lite-tts"].model
        for at in (AT, datetime(2027, 1, 2, tzinfo=UTC))
    )
    assert (getattr(now, field), getattr(later, field)) == (Decimal("0.5"), 1)
    flex_now, flex_later = (getattr(each.service_tiers["flex"], field) for each in (now, later))
    assert (flex_now, flex_later) == (Decimal("0.25"), Decimal("0.5"))


def test_an_entry_without_a_price_in_the_package_does_not_speak_of_prices() -> None:
    imported = read_package(AT).models
    assert not imported["deepseek:deepseek-chat"].said & PRICING
    assert not imported["github-copilot:gpt-4o"].said & PRICING
    assert imported["openai:gpt-4.1"].said >= PRICING


def test_the_package_is_read_without_any_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it asked a network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(f"socket.socket.{name}", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert len(read_package(AT).models) > 2_000
