"""One model by any of its names, with what it cost over time."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.pricing.price_card import make_model
from tests.registry.conftest import NOON, Running, Start, exact

P = "dollars_per_million_tokens_"


async def page(registry: Running, name: str, query: str = "") -> Any:
    answer = await registry.get(f"/registry/models/{name}{query}")
    assert answer.status_code == 200, answer.text
    return exact(answer)


@pytest.mark.parametrize(
    ("name", "resolved_from"),
    [
        ("acme/quill-1-mini", None),
        ("ACME/quill-1-mini", None),
        ("acme/quill-1-mini/", None),
        ("acme/quill-1-mini-20260115", "acme:quill-1-mini-20260115"),
        ("acme/acme/quill-1-mini", "acme:acme/quill-1-mini"),
        ("acme/acme%2Fquill-1-mini", "acme:acme/quill-1-mini"),
        ("acme/acme:quill-1-mini-20260115", "acme:acme:quill-1-mini-20260115"),
    ],
)
async def test_a_model_is_found_by_each_of_its_names(
    card: Running, name: str, resolved_from: str | None
) -> None:
    found = await page(card, name)
    assert (found["key"], found["resolved_from"]) == ("acme:quill-1-mini", resolved_from)
    assert found["aliases"] == ["quill-1-mini-20260115"]
    assert found["version"] == "2026.11.02"
    assert found["model"] == exact(await card.get("/registry"))["models"]["acme:quill-1-mini"]


async def test_a_name_with_slashes_is_a_name(card: Running) -> None:
    await card.must_publish(make_model("acme/quill-1-mini", "relay", input="0.5"))
    found = await page(card, "relay/acme/quill-1-mini")
    assert (found["key"], found["resolved_from"]) == ("relay:acme/quill-1-mini", None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("acme/quill-1-min", "Names are matched exactly"),
        ("acme/Quill-1-Mini", "Names are matched exactly"),
        ("globex/quill-1-mini", "has no model of globex that is called quill-1-mini"),
        ("nobody/quill-1", "has no provider nobody; it has acme, globex"),
        ("acme/%00", "Names are matched exactly"),
        ("acme/" + "x" * 3000, "Names are matched exactly"),
        ("acme/%F0%9F%92%A9", "Names are matched exactly"),
    ],
)
async def test_a_name_is_never_guessed(card: Running, name: str, said: str) -> None:
    answer = await card.get(f"/registry/models/{name}")
    assert answer.status_code == 404, answer.text
    assert said in answer.json()["detail"]


async def test_the_price_history_has_one_entry_for_each_time_of_its_own(registry: Running) -> None:
    def at(days: int) -> str:
        return f"{NOON + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"

    first = await registry.must_publish(make_model("m", input="3", output="15"))
    registry.clock.at += timedelta(days=1)
    await registry.must_publish(make_model("other"))
    await registry.must_publish(make_model("m", input="3.00", output="15.0", display_name="M"))
    registry.clock.at += timedelta(days=1)
    lower = await registry.must_publish(
        make_model("m", input="2.50", output="15", tiers={"batch": {"input": "1"}})
    )
    announced = await registry.must_publish(make_model("m", input="2", output="15"), effective_from=at(9))
    found = await page(registry, "acme/m")
    assert found["version"] == lower
    assert found["price_history"] == [
        {
            "version": announced,
            "effective_from": at(9),
            "effective_to": None,
            "prices": {f"{P}input": 2, f"{P}output": 15},
        },
        {
            "version": lower,
            "effective_from": at(2),
            "effective_to": at(9),
            "prices": {
                f"{P}input": Decimal("2.5"),
                f"{P}output": 15,
                "service_tiers": {"batch": {f"{P}input": 1}},
            },
        },
        {
            "version": first,
            "effective_from": at(0),
            "effective_to": at(2),
            "prices": {f"{P}input": 3, f"{P}output": 15},
        },
    ]
    older = await page(registry, "acme/m", f"?version={first}")
    assert (older["version"], older["model"][f"{P}input"]) == (first, 3)
    assert older["price_history"] == found["price_history"]


async def test_a_model_that_went_is_found_in_the_version_that_had_it(card: Running) -> None:
    registry = card
    registry.clock.at += timedelta(days=1)
    await registry.must_publish(make_model("quill-2", input="1"), mode="replace", confirm=True)
    registry.clock.at += timedelta(days=1)
    await registry.must_publish(make_model("other"))
    gone = await registry.get("/registry/models/acme/penny")
    assert gone.status_code == 404
    assert gone.json()["detail"].endswith("Version 2026.11.02 has one.")
    found = await page(registry, "acme/penny", "?version=2026.11.02")
    [only] = found["price_history"]
    assert (only["effective_from"], only["effective_to"]) == ("2026-11-02T12:00:00Z", "2026-11-03T12:00:00Z")
    await registry.must_publish(make_model("penny", input="0.3"))
    assert [each["version"] for each in (await page(registry, "acme/penny"))["price_history"]] == [
        "2026.11.04.2",
        "2026.11.02",
    ]


async def test_a_correction_of_the_past_shows_in_the_history(registry: Running) -> None:
    await registry.must_publish(make_model("m", input="3"))
    registry.clock.at += timedelta(days=10)
    past = NOON + timedelta(days=5)
    corrected = await registry.must_publish(make_model("m", input="4"), effective_from=past.isoformat())
    history = (await page(registry, "acme/m"))["price_history"]
    assert [(each["version"], each["effective_from"]) for each in history] == [
        (corrected, "2026-11-07T12:00:00Z"),
        ("2026.11.02", "2026-11-02T12:00:00Z"),
    ]


async def test_the_history_of_a_real_model_is_that_of_the_snapshots(start: Start) -> None:
    running: Running = await start(seed=True)
    shown = (await page(running, "openai/o3-mini"))["price_history"]
    expected: list[tuple[str, Any]] = []
    for name in reversed(await running.versions()):
        models = exact(await running.get(f"/registry/v/{name}/registry.json"))["models"]
        price = models.get("openai:o3-mini", {}).get(f"{P}output")
        if price is not None and (not expected or expected[-1][1] != price):
            expected.append((name, price))
    told = [(each["version"], each["prices"][f"{P}output"]) for each in reversed(shown)]
    assert [pair for n, pair in enumerate(told) if n == 0 or told[n - 1][1] != pair[1]] == expected


async def test_asking_again_is_answered_304_until_something_is_published(card: Running) -> None:
    path = "/registry/models/acme/penny"
    tag = (await card.get(path)).headers["etag"]
    assert (await card.get(path, if_none_match=tag)).status_code == 304
    assert (await card.get(f"{path}?version=2026.11.02", if_none_match=tag)).status_code == 304
    assert (await card.get("/registry/models/acme/quill-1", if_none_match=tag)).status_code == 200
    await card.must_publish(make_model("penny", input="0.2", output="0.4"))
    assert (await card.get(path, if_none_match=tag)).status_code == 200


@pytest.mark.parametrize(("version", "status"), [("2026.11.03", 404), ("x", 422), ("", 200)])
async def test_a_version_may_be_named(card: Running, version: str, status: int) -> None:
    assert (await card.get(f"/registry/models/acme/penny?version={version}")).status_code == status
