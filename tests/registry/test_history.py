"""The packaged history, its replay, and the seeding of an empty registry."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from services.registry.history.compact import OUTPUT, compact
from services.registry.history.replay import Publish, group_publishes, read_publishes, replay_history
from services.registry.snapshot import decode_snapshot, encode_snapshot
from shared.pricing.names import NameIndex
from shared.pricing.versions import parse_version
from tests.pricing.price_card import make_model
from tests.registry.conftest import NOON, Running, Start, exact

NAMES = [
    "2025.09.14", "2025.09.21", "2025.09.28", "2025.10.12", "2025.10.12.2", "2025.10.20", "2025.10.20.2",
    "2025.10.20.3", "2026.01.02", "2026.01.03", "2026.08.18", "2026.08.18.2", "2026.08.18.3",
]  # fmt: skip


def test_each_publish_of_a_provider_gives_a_version_and_one_round_of_all_gives_one() -> None:
    moments = replay_history()
    assert [moment.snapshot.version for moment in moments] == NAMES
    assert [len(moment.snapshot.models) for moment in moments] == [
        14, 53, 53, 58, 75, 79, 79, 74, 88, 89, 124, 124, 124,
    ]  # fmt: skip
    assert moments[0].snapshot.effective_from == datetime(2025, 9, 14, 22, 9, 57, 849796, UTC)
    assert moments[-3].snapshot.effective_from == datetime(2026, 8, 18, 17, 30, 40, 820947, UTC)
    for before, after in pairwise(moments):
        assert parse_version(before.snapshot.version) < parse_version(after.snapshot.version)
        assert before.snapshot.effective_from < after.snapshot.effective_from
        assert before.snapshot.models != after.snapshot.models


def test_the_replay_is_the_same_bytes_every_time() -> None:
    one, other = ([encode_snapshot(moment.snapshot) for moment in replay_history()] for _ in range(2))
    assert one == other
    for moment, body in zip(replay_history(), one, strict=True):
        assert decode_snapshot(body) == moment.snapshot


def test_the_bytes_of_the_history_are_those_of_every_release() -> None:
    """What a deployment pinned or signed stays what it was, whatever fields a model gets."""
    bodies = b"".join(encode_snapshot(moment.snapshot) for moment in replay_history())
    assert sha256(bodies).hexdigest() == "254f0d4087fa604f7e3d7ae7f7c8bc7de200eeeb506f4f6d3ec2e87b6f01d1b7"


def test_the_facts_of_the_history_are_kept() -> None:
    by_name = {moment.snapshot.version: moment.snapshot.models for moment in replay_history()}
    sonnet = by_name["2026.08.18.3"]["anthropic:claude-sonnet-4-5-20250929"]
    assert sonnet.dollars_per_million_tokens_input_long_context == Decimal("6.0")
    assert sonnet.long_context_threshold_tokens == 200_000
    assert sonnet.dollars_per_million_tokens_cache_write_1h == Decimal(6)
    assert sonnet.supports_long_context_pricing is True
    # A limit under its older name, and both names of it today.
    assert by_name["2025.09.14"]["anthropic:claude-opus-4-20250514"].max_input_tokens == 200_000
    assert sonnet.max_context == sonnet.max_input_tokens == 136_000
    # A retirement, with the day it was announced for; a model that went; an output price of 0.
    haiku = by_name["2026.08.18"]["anthropic:claude-3-5-haiku-20241022"]
    assert (haiku.is_active, haiku.inactive_from) == (False, datetime(2026, 2, 19, tzinfo=UTC))
    assert haiku.created_at == datetime(2025, 9, 14, 22, 9, 57, 849796, UTC)
    assert "anthropic:claude-4-opus-20241210" in by_name["2025.09.14"]
    assert "anthropic:claude-4-opus-20241210" not in by_name["2025.09.21"]
    embedding = by_name["2026.08.18"]["openai:text-embedding-3-small"]
    assert embedding.dollars_per_million_tokens_output == 0
    # Names that differ in case alone, at different prices.
    assert by_name["2026.08.18"]["openai:GPT-4o"].dollars_per_million_tokens_output == Decimal("2.5")
    assert by_name["2026.08.18"]["openai:gpt-4o"].dollars_per_million_tokens_output == 10


def test_an_entry_of_its_own_beats_the_alias_that_history_still_holds() -> None:
    index = NameIndex(replay_history()[-1].snapshot.models)
    assert index.find_key("openai", "gpt-5") == "openai:gpt-5"
    assert index.find_key("openai", "GPT-5") == "openai:gpt-5-2025-08-07"
    assert index.find_key("anthropic", "claude-sonnet-4-5") == "anthropic:claude-sonnet-4-5-20250929"


def test_publishes_far_apart_or_of_one_provider_are_versions_of_their_own() -> None:
    def publish(minute: int, provider: str) -> Publish:
        return Publish(datetime(2026, 1, 1, 0, minute, tzinfo=UTC), provider, {})

    moments = [publish(0, "a"), publish(4, "b"), publish(10, "c"), publish(11, "d"), publish(12, "d")]
    assert [[each.provider for each in group] for group in group_publishes(moments)] == [
        ["a", "b", "c"],
        ["d"],
        ["d"],
    ]


def test_the_packaged_file_is_small() -> None:
    assert OUTPUT.stat().st_size < 10_000


def test_compacting_and_reading_back_loses_nothing(tmp_path: Path) -> None:
    def write(provider: str, number: int, at: str, models: dict[str, dict[str, Any]]) -> None:
        entries = {
            f"{provider}:{name}": {"provider": provider, "model_name": name, **entry}
            for name, entry in models.items()
        }
        folder = tmp_path / provider
        folder.mkdir(exist_ok=True)
        document = {"provider": provider, "version": number, "updated_at": at, "models": entries}
        (folder / f"v{number}.json").write_text(json.dumps(document))

    price = "dollars_per_million_tokens_input"
    first: dict[str, dict[str, Any]] = {
        "a": {price: 0.1, "_notes": {"x": 1}, "max_output_tokens": 5},
        "b": {price: 2},
    }
    write("acme", 1, "2026-01-01T00:00:00", first)
    write("acme", 2, "2026-01-02T00:00:00", {"a": {price: 0.25}})
    write("acme", 10, "2026-01-03T00:00:00", {"a": {price: 0.25}, "b": {}})
    write("globex", 1, "2026-01-01T12:00:00", {"a": {price: None}})
    packed = compact(tmp_path)
    assert packed == compact(tmp_path)
    shown = [
        (
            publish.at.isoformat(),
            publish.provider,
            {
                key: (model.dollars_per_million_tokens_input, model.max_output_tokens)
                for key, model in publish.models.items()
            },
        )
        for publish in read_publishes(packed)
    ]
    assert shown == [
        ("2026-01-01T00:00:00+00:00", "acme", {"acme:a": (Decimal("0.1"), 5), "acme:b": (2, None)}),
        ("2026-01-01T12:00:00+00:00", "globex", {"globex:a": (None, None)}),
        ("2026-01-02T00:00:00+00:00", "acme", {"acme:a": (Decimal("0.25"), None)}),
        ("2026-01-03T00:00:00+00:00", "acme", {"acme:a": (Decimal("0.25"), None), "acme:b": (None, None)}),
    ]


async def test_a_fresh_deployment_serves_the_history_from_its_first_moment(start: Start) -> None:
    began = perf_counter()
    running: Running = await start(seed=True)
    assert perf_counter() - began < 5
    assert await running.versions() == NAMES[::-1]
    current = exact(await running.get("/registry"))
    assert current["version"] == "2026.08.18.3"
    assert current["effective_from"] == "2026-08-18T21:05:03.715411Z"
    assert current["providers"]["openai"]["base_url"] == "https://api.openai.com/v1"
    old = exact(await running.get("/registry?version=2025.10.12.2&providers=openai"))
    assert len(old["models"]) == 51
    vision = exact(
        await running.get("/registry?providers=anthropic&capabilities=vision,thinking&active=true")
    )
    assert vision["models"]
    assert all(model["supports_thinking"] for model in vision["models"].values())


async def test_a_restart_and_two_starts_at_once_seed_once_and_keep_every_byte(start: Start) -> None:
    one, other = await asyncio.gather(start(seed=True), start(seed=True))
    before = [(await one.get(f"/registry/v/{name}/registry.json")).content for name in NAMES]
    await one.must_publish(make_model("new"))
    again: Running = await start(seed=True)
    after = [(await again.get(f"/registry/v/{name}/registry.json")).content for name in NAMES]
    assert before == after
    assert await again.versions() == await other.versions() == ["2026.11.02", *NAMES[::-1]]


async def test_the_history_can_be_published_back_unchanged_and_merged_upon(start: Start) -> None:
    running: Running = await start(seed=True)
    served = await running.get("/registry")
    same = await running.post(served.content.replace(b"{", b'{"mode":"replace",', 1))
    assert (same.status_code, same.json()["version"]) == (200, "2026.08.18.3"), same.text
    assert await running.must_publish(make_model("new")) == "2026.11.02"
    assert len((await running.get("/registry")).json()["models"]) == 125


@pytest.mark.parametrize("at", [NOON.replace(year=2025), NOON.replace(year=2026, month=8, day=18, hour=18)])
async def test_the_version_in_force_is_the_one_of_the_clocks_time(start: Start, at: datetime) -> None:
    running: Running = await start(seed=True, at=at)
    expected = "2025.10.20.3" if at.year == 2025 else "2026.08.18"
    assert (await running.get("/registry")).json()["version"] == expected
    running.clock.at += timedelta(days=400)
    assert (await running.get("/registry")).json()["version"] == "2026.08.18.3"
