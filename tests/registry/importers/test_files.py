"""Files of LiteLLM and of the public registry, with invented models and the packaged history's."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.registry.history.compact import OUTPUT
from services.registry.history.replay import read_publishes
from services.registry.importers.imported import PRICING
from services.registry.importers.json_file import UnreadableError
from services.registry.importers.litellm import read_litellm
from services.registry.importers.provider_files import read_provider_files
from services.registry.snapshot import show_model
from shared.contracts.registry import Model
from shared.pricing.rates import quote
from shared.pricing.tokens import Tokens
from tests.pricing.price_card import make_model

LITELLM = Path(__file__).with_name("litellm_prices.json")


def costs(model: Model, tier: str, **counts: int) -> Decimal | None:
    return quote(Tokens(**counts), model, tier).cost


def test_litellms_prices_are_exact_per_million_with_steps_and_tiers() -> None:
    models = {key: entry.model for key, entry in read_litellm([LITELLM]).models.items()}
    quill = models["acme:quill-3"]
    assert quill == make_model(
        "quill-3",
        input="3",
        output="15.000001",
        cached="0.3",
        write_5m="3.75",
        write_1h="6",
        audio_in="40",
        thinking="20",
        steps={
            200_000: {"input": "6", "output": "22.5", "write_1h": "12"},
            400_000: {"input": "9"},
        },
        tiers={
            "batch": {"input": "1.5", "output": "7.5"},
            "priority": {
                "input": "6",
                "output": "30",
                "cached": "0.3",
                "write_5m": "3.75",
                "write_1h": "6",
                "audio_in": "40",
                "thinking": "20",
                "steps": {
                    200_000: {"input": "12", "output": "22.5", "write_1h": "12"},
                    400_000: {"input": "9"},
                },
            },
        },
        display_name="quill-3",
        max_input_tokens=500_000,
        max_context=500_000,
        max_output_tokens=64_000,
        supports_vision=True,
        supports_parallel_tool_calls=False,
        supports_caching=True,
        is_reasoning_model=True,
        supports_long_context_pricing=True,
        deprecated_date=date(2027, 3, 1),
    )
    assert costs(quill, "standard", input=200_001, cached_input=1, output=1) == Decimal("1.2000228")
    assert costs(quill, "batch", input=10, cached_input=4) == Decimal("0.000015")
    searcher = models["globex:searcher"]
    assert costs(searcher, "standard", input=1_000_000) == Decimal("0.205")
    assert models["google:gem-1"].provider == "google"
    assert costs(models["google:gem-1"], "standard", input=1, output=1) == 0
    assert costs(models["acme:ranker"], "standard", input=1_000_000) is None


def test_whatever_litellm_says_besides_is_told_by_field() -> None:
    imported = read_litellm([LITELLM])
    told = {(note.subject, note.field) for note in imported.notes}
    assert set(imported.models) == {
        "acme:quill-3", "globex:searcher", "google:gem-1", "acme:painter", "acme:teller",
        "acme:ranker", "acme:scribe",
    }  # fmt: skip
    refused = {note.subject: note.detail for note in imported.notes if note.field == "model"}
    assert refused.keys() == {
        "acme:broken", "acme:words", "acme/no-provider", "acme/not-an-object", "Bad Provider:x",
        "acme:quill-3",
    }  # fmt: skip
    assert "must not be negative" in refused["acme:broken"]
    assert "must be a JSON number" in refused["acme:words"]
    unmapped = {field for subject, field in told if subject == "acme:quill-3"} - {"model"}
    assert unmapped == {
        "mode", "max_tokens", "search_context_cost_per_query", "input_cost_per_image", "supports_web_search",
        "input_cost_per_token_above_128k_tokens_ultrafast", "source",
    }  # fmt: skip
    # A painter's output is not all text, a teller and a scribe are priced by the second, and a ranker by the
    # query: none has a price of tokens, least of all 0.
    for key in ("acme:painter", "acme:teller", "acme:ranker", "acme:scribe"):
        assert not imported.models[key].said & PRICING
        assert (key, "prices") in told


def write(folder: Path, name: str, document: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.Encoder(decimal_format="number").encode(document))
    return path


def test_the_newest_file_of_each_provider_is_read_with_models_by_key_or_as_a_list(tmp_path: Path) -> None:
    def a_file(provider: str, version: int, models: Any) -> dict[str, Any]:
        return {
            "provider": provider,
            "version": version,
            "updated_at": "2026-01-01T00:00:00",
            "models": models,
        }

    entry = {"model_name": "m", "dollars_per_million_tokens_input": 1, "dollars_per_million_tokens_output": 2}
    write(
        tmp_path, "acme/v10.json", a_file("acme", 10, {"acme:m": entry | {"provider": "acme", "colour": 1}})
    )
    write(tmp_path, "acme/v9.json", a_file("acme", 9, {"acme:old": entry | {"model_name": "old"}}))
    write(
        tmp_path,
        "globex.json",
        a_file("globex", 1, [entry, entry, 7, {"model_name": "n", "dollars_per_million_tokens_input": "1"}])
        | {"editor": "me"},
    )
    write(tmp_path, "acme2.json", a_file("initech", 1, {"initech:x": entry}))
    imported = read_provider_files([tmp_path])
    assert set(imported.models) == {"globex:m", "acme:m"}
    assert {(note.subject, note.field) for note in imported.notes} == {
        ("acme", "version"),
        ("acme:m", "colour"),
        ("globex", "editor"),
        ("globex", "model"),
        ("globex:m", "model"),
        ("globex:n", "model"),
        ("initech:m", "model"),
    }


def test_the_packaged_history_written_as_provider_files_is_read_back(tmp_path: Path) -> None:
    packed = OUTPUT.read_bytes()
    newest = {publish.provider: publish.models for publish in read_publishes(packed)}
    numbers: dict[str, int] = {}
    for publish in read_publishes(packed):
        number = numbers[publish.provider] = numbers.get(publish.provider, 0) + 1
        write(
            tmp_path,
            f"{publish.provider}/v{number}.json",
            {
                "provider": publish.provider,
                "version": number,
                "updated_at": publish.at,
                "models": {key: show_model(model) for key, model in publish.models.items()},
            },
        )
    imported = read_provider_files([tmp_path])
    assert {key: entry.model for key, entry in imported.models.items()} == {
        key: model for models in newest.values() for key, model in models.items()
    }
    assert sum(numbers.values()) == 21
    assert [note.reason for note in imported.notes] == ["is older than another file's"] * (21 - 3)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for name, body in {
        "a.json": b"{",
        "b.json": b"[1]",
        "c.json": b'{"models": 3}',
        "d.json": b"\xff",
    }.items():
        path = tmp_path / name
        path.write_bytes(body)
        with pytest.raises(UnreadableError, match=name):
            read_provider_files([path])
        if name != "c.json":
            with pytest.raises(UnreadableError, match=name):
                read_litellm([path])
