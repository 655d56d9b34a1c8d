"""The difference of two versions is complete: applied to the one it gives the other."""

import json
from copy import deepcopy
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.registry.difference import compare
from services.registry.snapshot import encode_snapshot, show_model
from shared.contracts.registry import (
    TIERED_SERVICES,
    LongContextPricing,
    LongContextStep,
    Model,
    Prices,
    Provider,
    Snapshot,
    TokenPrices,
)
from tests.pricing.price_card import CARD, make_model
from tests.registry.conftest import NOON, Running, Start, exact
from tests.registry.test_changes import BATCH, QUILL, V8

OWN_DATES = ("created_at", "updated_at")
P = "dollars_per_million_tokens_"

amounts = st.decimals("0", "999", places=4, allow_nan=False, allow_infinity=False)
names = st.text("abcXYZ-.5", min_size=1, max_size=4)
instants = st.integers(0, 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
some = dict.fromkeys((f"{P}input", f"{P}output", f"{P}cache_read"), st.none() | amounts)
steps = st.dictionaries(
    st.sampled_from([5, 50, 500]), st.builds(TokenPrices, **some).filter(lambda found: found != TokenPrices())
).map(
    lambda found: [
        LongContextStep(above_tokens=above, **msgspec.structs.asdict(found[above])) for above in sorted(found)
    ]
)
prices = st.builds(Prices, **some, long_context_steps=steps).filter(lambda found: found != Prices())
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    Decimal | None: st.none() | amounts,
    str | None: st.none() | names,
    int | None: st.none() | st.integers(1, 5),
    bool | None: st.none() | st.booleans(),
    bool: st.booleans(),
    date | None: st.none() | st.dates(date(2025, 1, 1), date(2025, 1, 5)),
    datetime | None: st.none() | instants,
    list[str]: st.lists(names, max_size=2, unique=True),
    list[Decimal] | None: st.none() | st.lists(amounts, max_size=2),
    LongContextPricing | None: st.sampled_from([None, "marginal", "whole_request"]),
    list[LongContextStep]: steps,
    dict[str, Prices]: st.dictionaries(st.sampled_from(TIERED_SERVICES), prices, max_size=2),
}
FIELDS = {
    name: BY_TYPE[kind]
    for name, kind in get_type_hints(Model).items()
    if kind in BY_TYPE and name not in OWN_DATES
}


@st.composite
def models(draw: st.DrawFn, key: str, start: Model | None = None) -> Model:
    """A model with a few fields that say something, or another one with a few fields that differ."""
    provider, _, name = key.partition(":")
    chosen = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=6, unique=True))
    values = {field: draw(FIELDS[field]) for field in chosen}
    if "max_input_tokens" in values or "max_context" in values:
        limit = values.get("max_input_tokens", values.get("max_context"))
        values |= {"max_input_tokens": limit, "max_context": limit}
    return msgspec.structs.replace(start or Model(provider=provider, model_name=name), **values)


@st.composite
def registries(draw: st.DrawFn, start: Snapshot | None = None) -> Snapshot:
    keys = draw(st.sets(st.sampled_from(["acme:a", "acme:b", "acme:x/y", "globex:a", "globex:b"])))
    of = {} if start is None else start.models
    entries = st.builds(Provider, name=names, base_url=st.none() | names)
    return Snapshot(
        version="2026.11.02",
        generated_at=NOON,
        effective_from=NOON,
        models={key: draw(models(key, of.get(key)) if draw(st.booleans()) else models(key)) for key in keys},
        providers=draw(st.dictionaries(st.sampled_from(["acme", "globex"]), entries)),
    )


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Snapshot, Snapshot]:
    before = draw(registries())
    return before, draw(registries(before))


def decode(body: bytes) -> Any:
    return msgspec.json.Decoder(float_hook=Decimal).decode(body)


def diff(before: Snapshot, after: Snapshot) -> Any:
    return decode(compare("a", "b", encode_snapshot(before), encode_snapshot(after)))


def content(snapshot: dict[str, Any]) -> Any:
    """What a snapshot says: null is absent, and the registry's own dates say nothing."""

    def said(value: Any) -> Any:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            found = [said(each) for each in value]
            return [each for each in sorted(found, key=lambda each: each["above_tokens"]) if len(each) > 1]
        if not isinstance(value, dict):
            return value
        found = {key: said(each) for key, each in value.items() if key not in OWN_DATES}
        return {
            key: each for key, each in found.items() if each not in (None, {}) and (key, each) != (LADDER, [])
        }

    return {
        kind: {key: said(each) for key, each in snapshot[kind].items()} for kind in ("models", "providers")
    }


LADDER = "long_context_steps"


def enter(place: Any, step: str) -> Any:
    """The next place of a path; a step of the ladder is named by its number of tokens."""
    if not isinstance(place, list):
        return place.setdefault(step, [] if step == LADDER else {})
    there = [each for each in place if each["above_tokens"] == int(step)]
    if not there:
        place.append({"above_tokens": int(step)})
    return there[0] if there else place[-1]


def apply(snapshot: dict[str, Any], difference: dict[str, Any]) -> dict[str, Any]:
    """As a reader of the documentation would do it, on nothing but JSON."""
    changed = deepcopy(snapshot)
    for kind, subject in (("models", "model"), ("providers", "provider")):
        for change in difference["changes" if kind == "models" else "provider_changes"]:
            entries, key = changed[kind], change[subject]
            if change["type"].endswith(".added"):
                assert key not in entries
                entries[key] = change["new"]
            elif change["type"].endswith(".removed"):
                del entries[key]
            else:
                place, path = entries[key], change["field"].split(".")
                for step in path[:-1]:
                    place = enter(place, step)
                assert place.get(path[-1]) == change["old"]
                place[path[-1]] = change["new"]
                if path == ["max_input_tokens"]:
                    place["max_context"] = change["new"]
    return changed


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_a_difference_applied_to_the_one_gives_the_other(pair: tuple[Snapshot, Snapshot]) -> None:
    before, after = pair
    found = apply(decode(encode_snapshot(before)), diff(before, after))
    assert content(found) == content(decode(encode_snapshot(after)))


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_the_difference_backwards_is_the_inverse_and_to_itself_there_is_none(
    pair: tuple[Snapshot, Snapshot],
) -> None:
    before, after = pair

    def inverted(change: dict[str, Any]) -> dict[str, Any]:
        swapped = {"old": "new", "new": "old"}
        return {swapped.get(name, name): value for name, value in change.items() if name != "type"}

    def untyped(change: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in change.items() if name != "type"}

    forth, back = diff(before, after), diff(after, before)
    for kind in ("changes", "provider_changes"):
        assert [inverted(change) for change in forth[kind]] == [untyped(change) for change in back[kind]]
        assert diff(before, before)[kind] == diff(after, after)[kind] == []


@settings(max_examples=60, deadline=None)
@given(pairs(), st.randoms(use_true_random=False))
def test_the_order_of_keys_and_the_digits_of_a_number_make_no_difference(
    pair: tuple[Snapshot, Snapshot], random: Any
) -> None:
    def rewritten(value: Any) -> Any:
        if isinstance(value, dict):
            items = list(value.items())
            random.shuffle(items)
            return {key: rewritten(each) for key, each in items}
        if isinstance(value, list):
            return [rewritten(each) for each in value]
        if isinstance(value, Decimal) and "." in str(value):
            return msgspec.Raw(f"{value}00".encode())
        return value

    before, after = (encode_snapshot(each) for each in pair)
    expected = compare("a", "b", before, after)
    other = msgspec.json.encode(rewritten(decode(after)))
    assert decode(compare("a", "b", before, other)) == decode(expected)
    assert decode(compare("a", "b", after, other))["changes"] == []


async def test_the_changelog_s_case_in_full(start: Start) -> None:
    # v7 -> v8: one price moves, one model goes, one comes, one is sent again as 0.4 in another order, and one
    # price becomes null. Then v8 again unchanged, then v9 with the first price back.
    registry: Running = await start()
    v7 = await registry.must_publish(*CARD.values())
    body = msgspec.json.encode({"mode": "replace", "models": [show_model(model) for model in V8.values()]})
    published = await registry.post(body)
    v8 = published.json()["version"]
    assert [(c["type"], c["model"], c.get("field")) for c in published.json()["changes"]] == [
        ("price.changed", "acme:free-7b", f"{P}cached_input"),
        ("price.changed", "acme:quill-1", f"{P}input"),
        ("model.added", "acme:quill-2", None),
        ("model.removed", "globex:quill-1", None),
    ]
    tag = (await registry.get("/registry")).headers["etag"]
    again = await registry.post(body)
    assert (again.status_code, again.json()["version"], again.json()["changes"]) == (200, v8, [])
    assert (await registry.get("/registry", if_none_match=tag)).status_code == 304
    v9 = await registry.must_publish(make_model("quill-1", input="3.00", tiers=BATCH, **QUILL))

    async def told(old: str, new: str) -> list[tuple[Any, ...]]:
        answer = await registry.get(f"/registry/diff?from={old}&to={new}")
        assert answer.status_code == 200, answer.text
        found = exact(answer)
        assert (found["from"], found["to"]) == (old, new)
        return [
            (change["model"], change.get("field"), change.get("old"), change.get("new"))
            for change in found["changes"]
        ]

    forth = await told(v7, v9)
    assert [change[:2] for change in forth] == [
        ("acme:free-7b", f"{P}cached_input"),
        ("acme:quill-2", None),
        ("globex:quill-1", None),
    ]
    assert await told(v9, v7) == [(model, field, new, old) for model, field, old, new in forth]
    assert await told(v8, v8) == []
    assert ("acme:quill-1", f"{P}input", Decimal(3), Decimal("2.5")) in await told(v7, v8)
    served = [exact(await registry.get(f"/registry/v/{version}/registry.json")) for version in (v7, v9)]
    whole = exact(await registry.get(f"/registry/diff?from={v7}&to={v9}"))
    assert content(apply(served[0], whole)) == content(served[1])


async def test_any_two_versions_of_the_history_differ_by_what_makes_one_of_the_other(start: Start) -> None:
    running: Running = await start(seed=True)
    for old, new in (("2025.09.14", "2026.08.18.3"), ("2026.08.18", "2025.10.12"), ("2026.01.02", "")):
        answer = await running.get(f"/registry/diff?from={old}&to={new}")
        assert answer.headers["cache-control"] == (
            "public, max-age=31536000, immutable" if new else "no-cache"
        )
        tag = answer.headers["etag"]
        again = await running.get(f"/registry/diff?from={old}&to={new}", if_none_match=tag)
        assert (again.status_code, again.headers["etag"]) == (304, tag)
        shown = [
            exact(await running.get(f"/registry?version={version}"))
            for version in (old, new or "2026.08.18.3")
        ]
        assert content(apply(shown[0], exact(answer))) == content(shown[1])


@pytest.mark.parametrize(
    ("query", "status", "fields"),
    [
        ("", 422, ["from"]),
        ("from=", 422, ["from"]),
        ("to=2026.11.02", 422, ["from"]),
        ("from=2026.11.03", 404, []),
        ("from=2026.11.02&to=2026.11.03", 404, []),
        ("from=x&to=2026.11.02", 422, ["from"]),
        ("from=2026.11.02&to=x", 422, ["to"]),
        ("from=2026.11.02&from=2026.11.02", 422, ["from"]),
    ],
)
async def test_a_wrong_question_is_told_what_is_wrong(
    card: Running, query: str, status: int, fields: list[str]
) -> None:
    answer = await card.get(f"/registry/diff?{query}")
    assert answer.status_code == status, answer.text
    assert [each["field"] for each in answer.json().get("errors", [])] == fields


async def test_a_tier_without_any_price_is_no_tier(card: Running) -> None:
    sent = {**json.loads(msgspec.json.encode(show_model(CARD["acme:penny"]))), "service_tiers": {"batch": {}}}
    same = await card.publish(sent)
    assert (same.status_code, same.json()["changes"]) == (200, [])
