"""The changelog: complete, in order, the same for ever, and cheap to ask for again."""

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.registry.history.compact import OUTPUT
from services.registry.seed import seed_history
from shared.contracts.registry import PRICE_FIELDS
from tests.pricing.price_card import CARD, make_model
from tests.registry.conftest import NOON, Running, Start, exact
from tests.registry.test_history import NAMES

P = "dollars_per_million_tokens_"

COUNTS = {
    # From the public registry's 21 files alone, by a few lines that share nothing with this program: models
    # that came, and went; prices, and limits, that differ; retired, reactivated.
    "2025.09.14": (14, 0, 0, 0, 0, 0),
    "2025.09.21": (47, 8, 2, 6, 0, 0),
    "2025.09.28": (0, 0, 0, 86, 0, 0),
    "2025.10.12": (5, 0, 2, 3, 0, 0),
    "2025.10.12.2": (17, 0, 0, 4, 0, 0),
    "2025.10.20": (4, 0, 0, 0, 0, 0),
    "2025.10.20.2": (0, 0, 22, 5, 0, 0),
    "2025.10.20.3": (0, 5, 12, 1, 0, 0),
    "2026.01.02": (14, 0, 17, 60, 2, 0),
    "2026.01.03": (1, 0, 0, 5, 0, 0),
    "2026.08.18": (35, 0, 4, 0, 7, 0),
    "2026.08.18.2": (0, 0, 0, 0, 0, 0),
    "2026.08.18.3": (0, 0, 0, 0, 0, 0),
}


async def log_of(registry: Running, query: str = "") -> dict[str, Any]:
    answer = await registry.get(f"/registry/changelog{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = exact(answer)
    return found


async def names(registry: Running, query: str = "") -> list[str]:
    return [each["version"] for each in (await log_of(registry, query))["versions"]]


def raw_publishes() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each provider's publish from the packaged lines as they are: version's place in time, before, after."""
    states: dict[str, dict[str, Any]] = {}
    for line in gzip.decompress(OUTPUT.read_bytes()).splitlines():
        publish = json.loads(line, parse_float=Decimal)
        before = states.get(publish["provider"], {})
        after = {name: dict(entry) for name, entry in before.items() if name not in publish["removed"]}
        for name, fields in publish["models"].items():
            entry = after.setdefault(name, {})
            entry |= fields
        states[publish["provider"]] = after
        yield publish["provider"], before, after


def _place(change: tuple[str, str, Any, Any]) -> tuple[str, str, list[float]]:
    return change[0], change[1], [float("-inf" if value is None else value) for value in change[2:]]


async def test_the_history_s_changelog_is_what_differs_between_the_files(start: Start) -> None:
    running: Running = await start(seed=True)
    shown = (await log_of(running))["versions"]
    assert [each["version"] for each in shown] == NAMES[::-1]
    for each in shown:
        kinds = Counter(change["type"] for change in each["changes"])
        retired = sum(c.get("field") == "is_active" and not c["new"] for c in each["changes"])
        told = ("model.added", "model.removed", "price.changed", "limit.changed")
        assert (*(kinds[kind] for kind in told), retired, kinds["model.reactivated"]) == COUNTS[
            each["version"]
        ]
    prices, came, went = [], [], []
    for provider, before, after in raw_publishes():
        came += [f"{provider}:{name}" for name in after.keys() - before.keys()]
        went += [f"{provider}:{name}" for name in before.keys() - after.keys()]
        prices += [
            (f"{provider}:{name}", field, before[name].get(field), after[name].get(field))
            for name in before.keys() & after.keys()
            for field in (*PRICE_FIELDS, "cache_storage_cost_per_million_tokens_per_hour")
            if before[name].get(field) != after[name].get(field)
        ]
    changes = [change for each in shown for change in each["changes"]]

    def of_type(kind: str) -> list[dict[str, Any]]:
        return [change for change in changes if change["type"] == kind]

    assert sorted(change["model"] for change in of_type("model.added")) == sorted(came)
    assert sorted(change["model"] for change in of_type("model.removed")) == sorted(went)
    told_prices = [(c["model"], c["field"], c["old"], c["new"]) for c in of_type("price.changed")]
    assert len(prices) > 50
    assert sorted(told_prices, key=_place) == sorted(prices, key=_place)


async def test_each_version_says_when_it_was_made_and_what_it_was_built_on(start: Start) -> None:
    running: Running = await start(seed=True)
    newest, *_, oldest = (await log_of(running))["versions"]
    assert newest["base"] == "2026.08.18.2"
    assert newest["generated_at"] == newest["effective_from"] == "2026-08-18T21:05:03.715411Z"
    assert oldest["base"] is None
    assert {change["type"] for change in oldest["changes"]} == {"model.added"}
    assert [change["provider"] for change in oldest["provider_changes"]] == ["anthropic"]


async def test_since_before_and_limit_choose_the_versions_newest_first(start: Start) -> None:
    running: Running = await start(seed=True)
    assert await names(running, "?since=2026.08.18") == ["2026.08.18.3", "2026.08.18.2"]
    assert await names(running, "?since=2026.08.18.3") == []
    assert await names(running, "?since=&limit=&before=") == NAMES[::-1]
    assert await names(running, "?limit=100") == await names(running, "/?limit=13") == NAMES[::-1]
    seen: list[str] = []
    query = ""
    while True:
        page = await log_of(running, f"?limit=5&since=2025.09.14{query}")
        seen += [each["version"] for each in page["versions"]]
        if page["next"] is None:
            break
        query = f"&before={page['next']}"
    assert seen == NAMES[:0:-1]
    assert await names(running, "?since=2026.08.18.3&before=2025.09.14") == []


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("since=2026.08.19", 404, None),
        ("before=2026.08.18.9", 404, None),
        ("since=yesterday", 422, "since"),
        ("since=2026.02.30", 422, "since"),
        ("before=1", 422, "before"),
        ("limit=0", 422, "limit"),
        ("limit=101", 422, "limit"),
        ("limit=-1", 422, "limit"),
        ("limit=ten", 422, "limit"),
        ("limit=1e400", 422, "limit"),
        ("limit=1&limit=2", 422, "limit"),
        ("since=2026.08.18&since=2026.08.18", 422, "since"),
    ],
)
async def test_a_wrong_question_is_told_what_is_wrong(
    registry: Running, query: str, status: int, field: str | None
) -> None:
    answer = await registry.get(f"/registry/changelog?{query}")
    assert answer.status_code == status, answer.text
    assert [each["field"] for each in answer.json().get("errors", [])] == ([field] if field else [])


async def test_a_publish_shows_at_once_and_the_entries_before_it_stay_as_they_were(card: Running) -> None:
    before = (await log_of(card))["versions"]
    await card.must_publish(
        make_model("penny", input="0.20", output="0.40"),
        {"provider": "globex", "model_name": "new"},
        providers={"globex": {"name": "Globex"}},
    )
    newest, *others = (await log_of(card))["versions"]
    assert others == before
    assert newest["base"] == "2026.11.02"
    assert newest["changes"] == [
        {
            "type": "price.changed",
            "model": "acme:penny",
            "field": f"{P}input",
            "old": Decimal("0.1"),
            "new": Decimal("0.2"),
        },
        {"type": "model.added", "model": "globex:new"},
    ]
    assert newest["provider_changes"] == [
        {
            "type": "provider.changed",
            "provider": "globex",
            "field": "name",
            "old": "globex",
            "new": "Globex",
        }
    ]
    alone = await card.get("/registry/v/2026.11.02.2/changes.json")
    assert exact(alone) == newest
    assert alone.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (await card.get("/registry/v/2026.11.03/changes.json")).status_code == 404
    assert (await card.get("/registry/v/new/changes.json")).status_code == 422


async def test_changes_are_against_the_version_in_force_when_the_new_one_begins(card: Running) -> None:
    in_a_week = (NOON + timedelta(days=7)).isoformat()
    later = await card.must_publish(make_model("later"), effective_from=in_a_week)
    now = await card.must_publish(make_model("now"), confirm=True)
    last_year = (NOON - timedelta(days=365)).isoformat()
    corrected = await card.must_publish(make_model("corrected"), effective_from=last_year, confirm=True)
    shown = {each["version"]: each for each in (await log_of(card))["versions"]}
    assert shown[later]["base"] == shown[now]["base"] == "2026.11.02"
    assert shown[corrected]["base"] == now
    assert shown[corrected]["effective_from"] == "2025-11-02T12:00:00Z"
    added = {version: [change["model"] for change in shown[version]["changes"]] for version in shown}
    assert (added[later], added[now], added[corrected]) == (["acme:later"], ["acme:now"], ["acme:corrected"])


async def test_asking_again_is_answered_304_until_there_is_a_new_version(card: Running) -> None:
    for path in ("/registry/changelog", "/registry/versions", "/registry/changelog?since=2026.11.02"):
        first = await card.get(path)
        tag = first.headers["etag"]
        again = await card.get(path, if_none_match=f'"other", W/{tag}')
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"] == first.headers["cache-control"] == "no-cache"
        assert again.headers["vary"] == "Accept-Encoding"
    tags = {
        path: (await card.get(path)).headers["etag"] for path in ("/registry/changelog", "/registry/versions")
    }
    forms = [await card.get("/registry/changelog", accept_encoding=coding) for coding in ("gzip", "identity")]
    assert [form.headers.get("content-encoding") for form in forms] == ["gzip", None]
    assert forms[0].content == forms[1].content
    assert forms[0].headers["etag"] != forms[1].headers["etag"]
    await card.must_publish(make_model("new"))
    for path, tag in tags.items():
        assert (await card.get(path, if_none_match=tag)).status_code == 200


async def test_versions_that_an_earlier_release_stored_are_worked_out_when_they_are_met(
    start: Start,
) -> None:
    one: Running = await start(seed=True)
    await one.must_publish(make_model("new", input="1"))
    expected = (await log_of(one))["versions"]
    async with one.database.transaction() as connection:
        # As an earlier release left it: versions, and nothing beside them.
        for table in ("changes", "books", "entries"):
            await connection.execute(f"ALTER TABLE registry.{table} DISABLE TRIGGER USER")
            await connection.execute(f"DELETE FROM registry.{table}")
            await connection.execute(f"ALTER TABLE registry.{table} ENABLE TRIGGER USER")
    two, three = await asyncio.gather(start(), start())
    found, same = await asyncio.gather(log_of(two), log_of(three))
    assert found["versions"] == same["versions"] == expected
    assert await seed_history(two.database) == 0


async def test_a_large_changelog_comes_in_pages_by_size(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.registry.changelog.MAX_PAGE_BYTES", 3000)
    running: Running = await start()
    await running.must_publish(*CARD.values())
    for number in range(3):
        many = [make_model(f"m{each}", input=str(number + 1)) for each in range(20)]
        await running.must_publish(*many)
    first = await log_of(running)
    assert [each["version"] for each in first["versions"]] == ["2026.11.02.4", "2026.11.02.3"]
    assert first["next"] == "2026.11.02.3"
    rest = await log_of(running, f"?before={first['next']}")
    assert [each["version"] for each in rest["versions"]] == ["2026.11.02.2", "2026.11.02"]
    assert rest["next"] is None
