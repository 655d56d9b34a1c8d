"""A version's changes as the events that webhooks are registered for."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec

from shared.contracts.changes import FieldChange, RegistryNews, VersionChanges
from shared.pricing.news import list_news
from tests.pricing.price_card import CARD, make_model
from tests.registry.conftest import NOON, Running

P = "dollars_per_million_tokens_"


async def news_of(registry: Running, version: str) -> list[RegistryNews]:
    """As a consumer of `registry.published` would make them: from what is served, with exact numbers."""
    answer = await registry.get(f"/registry/v/{version}/changes.json")
    return list_news(msgspec.json.Decoder(VersionChanges, float_hook=Decimal).decode(answer.content))


async def test_each_model_is_told_of_once_for_each_type(card: Running) -> None:
    in_a_week = NOON + timedelta(days=7)
    version = await card.must_publish(
        make_model("penny", input="0.11", output="0.41", max_output_tokens=7),
        make_model("quill-2", input="1"),
        make_model("quill-1-pro", input="12", output="61", is_active=False),
        make_model("nocache", input="2", output="8", deprecated_date=in_a_week.date()),
        effective_from=in_a_week.isoformat(),
    )
    found: dict[tuple[str, str], Any] = {
        (each.type, each.model): each.changes for each in await news_of(card, version)
    }
    assert found == {
        ("model.deprecated", "acme:nocache"): [FieldChange("deprecated_date", None, "2026-11-09")],
        ("price.changed", "acme:penny"): [
            FieldChange(f"{P}input", Decimal("0.1"), Decimal("0.11")),
            FieldChange(f"{P}output", Decimal("0.4"), Decimal("0.41")),
        ],
        ("model.deprecated", "acme:quill-1-pro"): [FieldChange("is_active", True, False)],
        ("price.changed", "acme:quill-1-pro"): [FieldChange(f"{P}output", 60, 61)],
        ("model.added", "acme:quill-2"): [],
    }
    [added] = [each for each in await news_of(card, version) if each.type == "model.added"]
    assert (added.id, added.provider) == ("model.added/2026.11.02.2/acme:quill-2", "acme")
    assert (added.version, added.effective_from) == (version, in_a_week)


async def test_the_first_version_is_news_of_every_model_and_a_removal_of_none(card: Running) -> None:
    first = await news_of(card, "2026.11.02")
    assert [(each.type, each.model) for each in first] == [("model.added", key) for key in sorted(CARD)]
    version = await card.must_publish(CARD["acme:penny"], mode="replace", confirm=True)
    assert await news_of(card, version) == []
