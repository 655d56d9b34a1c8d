"""What a diff says: exactly what changed, by value, and nothing of how it was written."""

from collections.abc import Mapping
from typing import Any

import msgspec

from services.registry.changes import Change, list_changes
from services.registry.entries import read_entry
from services.registry.fields import decode_json
from services.registry.snapshot import show_model
from shared.contracts.registry import Model
from tests.pricing.price_card import CARD, make_model

P = "dollars_per_million_tokens_"
QUILL: dict[str, Any] = {"output": "15.00", "cached": "0.30", "write_5m": "3.75", "write_1h": "6.00"}
BATCH = {"batch": {"input": "1.50", "output": "7.50", "cached": "0.15"}}

V7 = CARD
V8: Mapping[str, Model] = {
    **{key: model for key, model in CARD.items() if key != "globex:quill-1"},
    "acme:quill-1": make_model("quill-1", input="2.50", tiers=BATCH, **QUILL),
    "acme:quill-1-mini": make_model(
        "quill-1-mini", output="1.6", cached="0.1", input="0.4", model_aliases=["quill-1-mini-20260115"]
    ),
    "acme:free-7b": make_model("free-7b", input="0", output="0"),
    "acme:quill-2": make_model("quill-2", input="1", output="1"),
}
V9: Mapping[str, Model] = {**V8, "acme:quill-1": make_model("quill-1", input="3", tiers=BATCH, **QUILL)}


def told(before: Mapping[str, Model], after: Mapping[str, Model]) -> list[Any]:
    return [
        tuple(msgspec.to_builtins(change).values())
        for change in msgspec.json.decode(
            msgspec.json.encode(list_changes(before, after)), type=list[dict[str, Any]]
        )
    ]


def test_a_diff_is_exactly_what_changed() -> None:
    assert told(V7, V8) == [
        ("price.changed", "acme:free-7b", f"{P}cached_input", 0, None),
        ("price.changed", "acme:quill-1", f"{P}input", 3, 2.5),
        ("model.added", "acme:quill-2"),
        ("model.removed", "globex:quill-1"),
    ]


def test_a_price_that_came_back_is_no_change_across_both_versions() -> None:
    assert [change[1] for change in told(V7, V9)] == ["acme:free-7b", "acme:quill-2", "globex:quill-1"]


def test_the_diff_backwards_is_the_inverse() -> None:
    inverse = {"model.added": "model.removed", "model.removed": "model.added"}

    def invert(change: Change) -> Change:
        return Change(
            type=inverse.get(change.type, change.type),  # type: ignore[arg-type]  # still one of the types
            model=change.model,
            field=change.field,
            old=change.new,
            new=change.old,
        )

    encode = msgspec.json.encode
    assert encode([invert(change) for change in list_changes(V7, V9)]) == encode(list_changes(V9, V7))
    assert list_changes(V8, V8) == []


def test_each_kind_of_field_has_its_type_of_change() -> None:
    before = {"acme:m": make_model("m", tiers=BATCH)}
    after = {
        "acme:m": make_model(
            "m",
            tiers={"batch": {"input": "1.50", "output": "7"}, "flex": {"input": "1"}},
            audio_in="1",
            max_context=5,
            max_input_tokens=5,
            supports_vision=True,
            is_reasoning_model=False,
            display_name="M",
            model_aliases=["n"],
            is_active=False,
            long_context_pricing="marginal",
        )
    }
    assert [change[::2] if len(change) < 3 else (change[0], change[2]) for change in told(before, after)] == [
        ("model.changed", "display_name"),
        ("price.changed", f"{P}audio_input"),
        ("model.deprecated", "is_active"),
        ("capability.changed", "is_reasoning_model"),
        ("price.changed", "long_context_pricing"),
        ("limit.changed", "max_input_tokens"),
        ("model.changed", "model_aliases"),
        ("price.changed", f"service_tiers.batch.{P}output"),
        ("price.changed", f"service_tiers.batch.{P}cached_input"),
        ("price.changed", f"service_tiers.flex.{P}input"),
        ("capability.changed", "supports_vision"),
    ]


def test_long_context_steps_are_told_price_by_price_in_whatever_order_they_came() -> None:
    entry = show_model(make_model("m", steps={32_000: {"input": "2"}, 128_000: {"input": "4"}}))
    steps = entry["long_context_steps"][::-1]
    turned, faults = read_entry(decode_json(msgspec.json.encode(entry | {"long_context_steps": steps})), "m")
    assert turned is not None, faults
    assert turned.supports_long_context_pricing
    before = {"acme:m": turned}
    assert show_model(turned)["long_context_steps"] == entry["long_context_steps"]
    after = {
        "acme:m": make_model(
            "m",
            supports_long_context_pricing=True,
            display_name="m",
            request="0.005",
            steps={128_000: {"input": "4.0", "output": "5"}, 256_000: {"input": "9"}},
            tiers={"flex": {"steps": {5: {"cached": "1"}}}},
        )
    }
    assert [change[2:] for change in told(before, after)] == [
        ("dollars_per_request", None, 0.005),
        (f"long_context_steps.32000.{P}input", 2, None),
        (f"long_context_steps.128000.{P}output", None, 5),
        (f"long_context_steps.256000.{P}input", None, 9),
        (f"service_tiers.flex.long_context_steps.5.{P}cached_input", None, 1),
    ]
