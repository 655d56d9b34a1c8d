import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from services.registry.snapshot import show_model
from tests.pricing.price_card import CARD, make_model
from tests.registry.conftest import NOON, SCOPE_LOG, Running, Start, exact

IN = "dollars_per_million_tokens_input"
OUT = "dollars_per_million_tokens_output"


async def test_only_an_operator_publishes(registry: Running) -> None:
    body = msgspec.json.encode({"models": [show_model(make_model("m"))]})
    refused = await registry.post(body, scope=SCOPE_LOG)
    assert refused.status_code == 403
    anonymous = await registry.client.post("/registry/versions", content=body)
    assert anonymous.status_code == 401
    assert anonymous.headers["www-authenticate"]
    assert await registry.versions() == []


async def test_a_publish_answers_the_version_its_place_and_what_changed(card: Running) -> None:
    answer = await card.publish(make_model("penny", input="0.20", output="0.40"), make_model("new"))
    assert answer.status_code == 201
    assert answer.headers["location"] == "/registry/v/2026.11.02.2/registry.json"
    assert exact(answer) == {
        "version": "2026.11.02.2",
        "effective_from": "2026-11-02T12:00:00Z",
        "published": True,
        "dry_run": False,
        "changes": [
            {"type": "model.added", "model": "acme:new"},
            {
                "type": "price.changed",
                "model": "acme:penny",
                "field": IN,
                "old": Decimal("0.1"),
                "new": Decimal("0.2"),
            },
        ],
        "provider_changes": [],
        "needs_confirm": [],
    }


async def test_merge_keeps_the_other_models_and_replace_does_not(card: Running) -> None:
    await card.must_publish(make_model("new"))
    merged = (await card.get("/registry")).json()["models"]
    assert set(merged) == {*CARD, "acme:new"}
    refused = await card.publish(make_model("new"), mode="replace")
    assert refused.json()["errors"] == [
        {"field": "mode", "message": "removes 15 of 16 models; send confirm: true if it is meant"}
    ]
    await card.must_publish(make_model("new"), mode="replace", confirm=True)
    replaced = (await card.get("/registry")).json()
    assert list(replaced["models"]) == ["acme:new"]
    assert list(replaced["providers"]) == ["acme"]


async def test_the_same_content_again_makes_no_new_version(card: Running) -> None:
    before = await card.get("/registry")
    card.clock.at += timedelta(days=3)
    again = [show_model(model) for model in reversed(CARD.values())]
    for mode in ("merge", "replace"):
        answer = await card.post(msgspec.json.encode({"models": again, "mode": mode}))
        assert (answer.status_code, answer.json()["version"]) == (200, "2026.11.02"), answer.text
        assert answer.json()["changes"] == []
    # Other keys order and 0.400 for 0.4 are no change either.
    shuffled = dict(reversed(show_model(CARD["acme:quill-1-mini"]).items())) | {IN: msgspec.Raw(b"0.400")}
    assert (await card.publish(shuffled)).status_code == 200
    after = await card.get("/registry", if_none_match=before.headers["etag"])
    assert after.status_code == 304
    assert await card.versions() == ["2026.11.02"]


async def test_what_is_served_can_be_sent_back_and_changes_nothing(card: Running) -> None:
    card.clock.at += timedelta(days=3)
    served = await card.get("/registry")
    whole = await card.post(served.content.replace(b"{", b'{"mode":"replace",', 1))
    assert (whole.status_code, whole.json()["changes"]) == (200, []), whole.text
    models = exact(served)["models"]
    entries = msgspec.json.Encoder(decimal_format="number").encode({"models": list(models.values())})
    assert (await card.post(entries)).status_code == 200


async def test_a_dry_run_shows_what_would_change_and_changes_nothing(card: Running) -> None:
    answer = await card.publish(make_model("penny", input="300", output="0.40"), dry_run=True)
    body = exact(answer)
    assert answer.status_code == 200
    assert body["published"] is False
    assert body["version"] == "2026.11.02.2"
    assert [change["new"] for change in body["changes"]] == [300]
    assert [doubt["field"] for doubt in body["needs_confirm"]] == [f"models[0].{IN}"]
    assert await card.versions() == ["2026.11.02"]


async def test_dates_are_kept_by_the_registry(card: Running) -> None:
    card.clock.at += timedelta(days=1)
    await card.must_publish(
        show_model(make_model("penny", input="0.2", output="0.4")) | {"created_at": "1999-01-01T00:00:00Z"}
    )
    models = (await card.get("/registry")).json()["models"]
    assert models["acme:penny"]["created_at"] == "2026-11-02T12:00:00Z"
    assert models["acme:penny"]["updated_at"] == "2026-11-03T12:00:00Z"
    assert models["acme:dust"]["updated_at"] == "2026-11-02T12:00:00Z"


async def test_a_model_is_retired_by_being_marked_and_never_by_a_date_alone(card: Running) -> None:
    penny = show_model(CARD["acme:penny"])

    async def entry() -> dict[str, Any]:
        found: dict[str, Any] = (await card.get("/registry")).json()["models"]["acme:penny"]
        return found

    answer = await card.publish(penny | {"deprecated_date": "2027-01-01"})
    assert [change["type"] for change in answer.json()["changes"]] == ["model.deprecated"]
    assert (await entry())["is_active"] is True
    await card.must_publish(penny | {"deprecated_date": "2026-11-02"})
    assert (await entry())["is_active"] is True
    answer = await card.publish(penny | {"deprecated_date": "2026-11-01", "is_active": False})
    assert [change["type"] for change in answer.json()["changes"]] == ["model.changed", "model.deprecated"]
    assert (await entry())["inactive_from"] == "2026-11-01T00:00:00Z"
    # Sent again without its date it stays retired since then; a date to come does not retire it later.
    card.clock.at += timedelta(days=1)
    await card.must_publish(penny | {"deprecated_date": "2027-01-01", "is_active": False})
    assert (await entry())["inactive_from"] == "2026-11-01T00:00:00Z"
    answer = await card.publish(penny)
    assert {change["type"] for change in answer.json()["changes"]} == {"model.changed", "model.reactivated"}
    assert (await entry())["inactive_from"] is None
    first = (await card.get("/registry/v/2026.11.02/registry.json")).json()["models"]["acme:penny"]
    assert first["is_active"] is True


async def test_publishes_at_once_give_consecutive_versions_and_lose_nothing(start: Start) -> None:
    one: Running = await start()
    other: Running = await start()
    answers = await asyncio.gather(
        *((one, other)[n % 2].publish(make_model(f"m{n}", input="1", output="1")) for n in range(12))
    )
    assert [answer.status_code for answer in answers] == [201] * 12
    names = {answer.json()["version"] for answer in answers}
    assert names == {"2026.11.02", *(f"2026.11.02.{n}" for n in range(2, 13))}
    assert set((await one.get("/registry")).json()["models"]) == {f"acme:m{n}" for n in range(12)}
    assert await other.versions() == ["2026.11.02" + (f".{n}" if n > 1 else "") for n in range(12, 0, -1)]


async def test_the_same_publish_twice_at_once_is_one_version(registry: Running) -> None:
    answers = await asyncio.gather(*(registry.publish(*CARD.values()) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert {answer.json()["version"] for answer in answers} == {"2026.11.02"}


async def test_a_version_in_the_past_corrects_what_came_after_it(card: Running) -> None:
    await card.must_publish(make_model("penny", input="0.2", output="0.4"), effective_from="2026-03-01")
    listed = (await card.get("/registry/versions")).json()["versions"]
    assert listed[0]["effective_from"] == "2026-03-01T00:00:00Z"
    current = exact(await card.get("/registry"))
    assert current["version"] == "2026.11.02.2"
    assert current["effective_from"] == "2026-03-01T00:00:00Z"
    assert set(current["models"]) == set(CARD)
    # The same content from no earlier on is nothing new; from an earlier instant on it is.
    penny = make_model("penny", input="0.2", output="0.4")
    assert (await card.publish(penny, effective_from="2026-03-01T01:00:00+01:00")).status_code == 200
    assert (await card.publish(penny, effective_from="2026-02-01")).status_code == 201


async def test_a_version_to_come_is_served_when_its_time_has_come(card: Running) -> None:
    due = NOON + timedelta(days=10)
    penny = make_model("penny", input="0.2", output="0.4")
    version = await card.must_publish(penny, effective_from=due.isoformat())
    before = exact(await card.get("/registry"))
    assert before["version"] == "2026.11.02"
    assert before["models"]["acme:penny"][IN] == Decimal("0.1")
    assert (await card.get(f"/registry?version={version}")).status_code == 200
    # A publish in between would take its place: that is asked first.
    answer = await card.publish(make_model("new"))
    assert [each["field"] for each in answer.json()["errors"]] == ["effective_from"]
    assert (await card.publish(CARD["acme:dust"])).status_code == 200
    card.clock.at = due - timedelta(microseconds=1)
    assert (await card.get("/registry")).json()["version"] == "2026.11.02"
    card.clock.at = due
    assert (await card.get("/registry")).json()["version"] == version


async def test_a_confirmed_publish_takes_the_place_of_one_to_come(card: Running) -> None:
    due = (NOON + timedelta(days=10)).isoformat()
    penny = make_model("penny", input="0.2", output="0.4")
    await card.must_publish(penny, effective_from=due)
    await card.must_publish(make_model("new"), confirm=True)
    body = exact(await card.get("/registry"))
    assert "acme:new" in body["models"]
    assert body["models"]["acme:penny"][IN] == Decimal("0.1")
    # Published again upon it, the price to come holds beside the new model; nothing is in doubt any more.
    await card.must_publish(penny, effective_from=due)
    card.clock.at += timedelta(days=11)
    body = exact(await card.get("/registry"))
    assert "acme:new" in body["models"]
    assert body["models"]["acme:penny"][IN] == Decimal("0.2")


async def test_versions_go_on_when_the_clock_goes_back(card: Running) -> None:
    card.clock.at -= timedelta(days=40)
    assert await card.must_publish(make_model("new"), confirm=True) == "2026.11.02.2"


async def test_providers_are_described_by_whoever_publishes(card: Running) -> None:
    globex = {"name": "Globex", "base_url": "https://api.globex.example/v1", "models_endpoint": "/models"}
    await card.must_publish(make_model("new", "globex"), providers={"globex": globex})
    await card.must_publish(make_model("newer", "globex"))
    assert (await card.get("/registry")).json()["providers"]["globex"] == globex


async def test_a_published_version_cannot_be_changed_even_in_the_database(card: Running) -> None:
    for statement in (
        "UPDATE registry.versions SET effective_from = now()",
        "UPDATE registry.versions SET body = ''",
        "DELETE FROM registry.versions",
        "TRUNCATE registry.versions CASCADE",
        "DELETE FROM registry.changes",
        "UPDATE registry.books SET number = number + 1",
        "TRUNCATE registry.entries",
    ):
        with pytest.raises(Exception, match="cannot be changed or removed"):
            async with card.database.transaction() as connection:
                await connection.execute(statement)
    assert await card.versions() == ["2026.11.02"]
