"""What an import makes of the version in force: publishes like any other, and tells what did not fit."""

from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import msgspec

from services.registry.history.replay import replay_history
from services.registry.importers.imported import PRICING, Collector, Imported, Note
from services.registry.importers.package import read_package
from services.registry.importing import fit, publish_import
from services.registry.library import Library
from services.registry.publish import Publication
from services.registry.request import PublishRequest
from services.registry.settings import RegistrySettings
from shared.contracts.registry import Model, Snapshot
from tests.pricing.price_card import make_model
from tests.registry.conftest import NOON, Running, Start

IN = "dollars_per_million_tokens_input"
OUT = "dollars_per_million_tokens_output"
AT = datetime(2026, 11, 29, 12, tzinfo=UTC)


def a_snapshot(*models: Model) -> Snapshot:
    keyed = {f"{model.provider}:{model.model_name}": model for model in models}
    return Snapshot(version="2026.11.02", generated_at=NOON, effective_from=NOON, models=keyed, providers={})


def a_source(*entries: dict[str, Any]) -> Imported:
    collector = Collector()
    for entry in entries:
        collector.add_model({"provider": "acme", **entry}, f"acme:{entry['model_name']}", PRICING)
    return collector.collect()


async def take_in(running: Running, imported: Imported, **how: Any) -> tuple[Publication, list[Note]]:
    request = PublishRequest(
        **{"mode": "merge", "effective_from": None, "confirm": True, "dry_run": False} | how,
        models={},
        paths={},
        providers={},
        faults=[],
    )
    return await publish_import(
        imported,
        request,
        database=running.database,
        event_log=running.event_log,
        library=Library(running.database, RegistrySettings()),
        clock=running.clock,
    )


async def test_an_import_is_a_publish_and_the_same_again_is_none(registry: Running) -> None:
    began = perf_counter()
    first, notes = await take_in(registry, read_package(AT))
    assert perf_counter() - began < 10
    assert first.published
    assert {change.type for change in first.changes} == {"model.added"}
    assert len(first.changes) > 2_000
    assert [note for note in notes if note.field == "model"] == []
    second, notes_again = await take_in(registry, read_package(AT))
    assert (second.published, second.version, second.changes) == (False, first.version, [])
    assert len(notes_again) >= len(notes)
    served = (await registry.get("/registry")).json()
    assert served["providers"]["openai"]["base_url"] == "https://api.openai.com"


async def test_upon_history_an_import_changes_prices_and_keeps_what_the_source_does_not_say(
    start: Start,
) -> None:
    running = await start(seed=True)
    before = replay_history()[-1].snapshot.models
    for _ in range(2):
        publication, _ = await take_in(running, read_package(AT))
    assert not publication.published
    after = msgspec.json.decode((await running.get("/registry")).content, type=Snapshot).models
    assert before.keys() <= after.keys()
    for key, old in before.items():
        new = after[key]
        assert (old.supports_vision, old.max_output_tokens) == (new.supports_vision, new.max_output_tokens)
        assert set(old.model_aliases) <= set(new.model_aliases)
    # The package knows this one by what is an alias here, and prices writes to the cache of long requests.
    sonnet = after["anthropic:claude-sonnet-4-5-20250929"]
    assert "anthropic:claude-sonnet-4-5" not in after
    assert sonnet.long_context_threshold_tokens is None
    assert [step.dollars_per_million_tokens_cache_write_5m for step in sonnet.long_context_steps] == [7.5]
    providers = (await running.get("/registry")).json()["providers"]
    assert providers["openai"]["base_url"] == "https://api.openai.com/v1"


def test_a_price_that_the_source_no_longer_has_goes_and_other_facts_stay() -> None:
    base = a_snapshot(make_model("m", input="1", output="2", audio_in="3", max_tools=5, description="old"))
    fitted = fit(a_source({"model_name": "m", IN: 4, OUT: 5}), base, keep_others=True).models["acme:m"]
    assert fitted == make_model("m", input="4", output="5", max_tools=5, description="old")


def test_a_cached_price_stays_under_the_name_it_has() -> None:
    base = a_snapshot(make_model("m", input="1", output="2", cache_read="0.1"))
    source = a_source({"model_name": "m", IN: 1, OUT: 2, "dollars_per_million_tokens_cached_input": 3})
    fitted = fit(source, base, keep_others=True).models["acme:m"]
    assert fitted.dollars_per_million_tokens_cache_read == 3
    assert fitted.dollars_per_million_tokens_cached_input is None


def test_names_that_are_there_already_are_neither_stolen_nor_doubled() -> None:
    base = a_snapshot(
        make_model("m-2026", input="1", output="1", model_aliases=["m"]),
        make_model("n-2025", input="1", output="1"),
    )
    source = a_source(
        {"model_name": "m", IN: 2, OUT: 2, "model_aliases": ["m-latest"]},
        {"model_name": "n", IN: 3, OUT: 3, "model_aliases": ["n-2025", "acme/n-new", "n-new"]},
        {"model_name": "o", IN: 4, OUT: 4, "model_aliases": ["m-latest", "n"]},
    )
    fitted = fit(source, base, keep_others=True)
    assert {key: (model.model_aliases, getattr(model, IN)) for key, model in fitted.models.items()} == {
        "acme:m-2026": (["m", "m-latest"], 2),  # its alias is what the source calls it
        "acme:n-2025": ([], 3),  # the source says what it costs
        "acme:n": (["acme/n-new"], 3),
        "acme:o": ([], 4),
    }
    assert [note[:3] for note in fitted.notes] == [
        ("acme:n", "alias", "is a model of its own here: it gets the same prices"),
        ("acme:m", "model_name", "is an alias here: it renews the model that has it"),
        ("acme:o", "alias", "is another model's already"),
        ("acme:o", "alias", "is a model's own name"),
    ]


def test_an_entry_that_a_publish_would_refuse_is_left_out_with_its_reason() -> None:
    imported = a_source({"model_name": "bad", IN: -1}, {"model_name": "good", IN: 1}, {"model_name": "good"})
    assert list(imported.models) == ["acme:good"]
    assert [(note.subject, note.field) for note in imported.notes] == [
        ("acme:bad", "model"),
        ("acme:good", "model"),
    ]
    assert "must not be negative" in imported.notes[0].detail


async def test_without_the_others_the_source_is_the_whole_registry(card: Running) -> None:
    source = a_source({"model_name": "penny", IN: "?"}, {"model_name": "new", IN: 1})
    dry, _ = await take_in(card, source, mode="replace", confirm=False, dry_run=True)
    assert [doubt.field for doubt in dry.needs_confirm] == ["mode"]
    assert not dry.published
    await take_in(card, source, mode="replace")
    assert list((await card.get("/registry")).json()["models"]) == ["acme:new"]
