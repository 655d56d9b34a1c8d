"""Models and prices: kept in memory and on disk, asked about when old, taken as they are without a server."""

import json
import logging
import multiprocessing
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmring.api import APINotFoundError, APIService, APIUnavailableError, APIValidationError, SyncAPIService
from llmring.api.models.registry import CAPABILITIES
from tests.client.conftest import KEY, open_api
from tests.client.fake import FakeServer, Reply, Seen, problem
from tests.live.process import ServerProcess

MODELS: list[dict[str, Any]] = [
    {"provider": "openai", "model_name": "gpt-5", "model_aliases": ["five"], "supports_vision": True},
    {"provider": "acme", "model_name": "gpt-5", "is_active": False},
    {"provider": "acme", "model_name": "tiny", "is_reasoning_model": True},
    {"provider": "other", "model_name": "tiny", "dollars_per_million_tokens_input": 3.75e-8},
    {"provider": "other", "model_name": "org/big"},
]


def registry_of(version: str) -> dict[str, Any]:
    models = {f"{each['provider']}:{each['model_name']}": each for each in MODELS}
    return {"version": version, "generated_at": "2026-01-01T00:00:00Z", "models": models, "providers": {}}


class Registry:
    """A registry with ETags."""

    def __init__(self, fake: FakeServer) -> None:
        self.version = "2026.01.01"
        self.statuses: list[int] = []
        fake.handler = self.answer

    def answer(self, seen: Seen) -> Reply:
        version = self.version if seen.path == "/registry.json" else seen.path.split("/")[3]
        etag = f'"{version}"'
        reply = Reply(200, registry_of(version), {"ETag": etag})
        if seen.headers.get("if-none-match") == etag:
            reply = Reply(304, None, {"ETag": etag})
        self.statuses.append(reply.status)
        return reply


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clocks that the cache looks at."""
    import time

    now = [time.time(), time.monotonic()]
    monkeypatch.setattr("llmring.api.documents.time.time", lambda: now[0])
    monkeypatch.setattr("llmring.api.documents.time.monotonic", lambda: now[1])

    def move(seconds: float) -> None:
        now[0] += seconds
        now[1] += seconds

    return move


def test_it_is_asked_for_once_an_hour_and_then_by_its_etag(
    fake: FakeServer, clock: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(fake)
    first = open_api(fake)
    assert first.get_registry().version == "2026.01.01"
    assert len(first.list_models(provider="openai")) == 1
    second = open_api(fake)  # another program: it finds the file
    assert second.get_model("five").key == "openai:gpt-5"
    assert registry.statuses == [200]
    clock(3601)
    assert second.get_registry().version == "2026.01.01"
    assert open_api(fake).get_registry().version == "2026.01.01"  # the file says that it was looked at
    assert registry.statuses == [200, 304]
    clock(3601)
    registry.version = "2026.01.02"
    assert second.get_registry().version == "2026.01.02"
    assert registry.statuses == [200, 304, 200]

    clock(3601)
    fake.handler = lambda _: problem(503, "unavailable", headers={"Retry-After": "60"})
    seen = len(fake.seen)
    with caplog.at_level(logging.WARNING):
        assert second.get_registry().version == "2026.01.02"
        assert second.get_registry().version == "2026.01.02"
    assert len(fake.seen) == seen + 1  # a server that is away is not asked at every call
    assert "registry is 3601 s old" in caplog.text
    clock(-10_000)  # a wrong clock was put right
    with pytest.raises(APIUnavailableError):
        open_api(fake, cache_dir=None).get_registry()
    assert open_api(fake).get_registry().version == "2026.01.02"


def test_a_version_is_kept_for_ever(fake: FakeServer, clock: Callable[[float], None]) -> None:
    registry = Registry(fake)
    pinned = open_api(fake, registry_version="2025.10.20.2")
    assert pinned.get_registry().version == "2025.10.20.2"
    clock(10 * 365 * 86400)
    assert open_api(fake).get_registry(version="2025.10.20.2").version == "2025.10.20.2"
    assert pinned.get_model("other:tiny").dollars_per_million_tokens_input == Decimal("3.75E-8")
    assert [each.path for each in fake.seen] == ["/registry/v/2025.10.20.2/registry.json"]
    assert registry.statuses == [200]
    with pytest.raises(APIValidationError):
        pinned.get_registry(version="../../etc")


@pytest.mark.parametrize("damage", ["", "{}\n{}", "no json\n{}", None])
def test_a_damaged_file_is_no_file(fake: FakeServer, tmp_path: Path, damage: str | None) -> None:
    registry = Registry(fake)
    open_api(fake).get_registry()
    [file] = (tmp_path / "cache").glob("*/registry")
    file.write_bytes(damage.encode() if damage is not None else file.read_bytes()[:-1])
    assert open_api(fake).get_registry().version == "2026.01.01"
    assert registry.statuses == [200, 200]
    assert open_api(fake).get_registry().version == "2026.01.01"
    assert registry.statuses == [200, 200]


@pytest.mark.parametrize("etag", ['"é"', '"a\nb"'])
def test_an_etag_that_cannot_be_sent_back_is_none(fake: FakeServer, tmp_path: Path, etag: str) -> None:
    registry = Registry(fake)
    open_api(fake).get_registry()
    [file] = (tmp_path / "cache").glob("*/registry")
    head, _, body = file.read_bytes().partition(b"\n")
    file.write_bytes(json.dumps(json.loads(head) | {"etag": etag}).encode() + b"\n" + body)
    assert open_api(fake, registry_ttl_s=0).get_registry().version == "2026.01.01"
    assert "if-none-match" not in fake.seen[-1].headers
    assert registry.statuses == [200, 200]
    fake.answer(Reply(200, registry_of("2026.01.02"), {"ETag": '"é"'}))  # as a server may send one
    with open_api(fake, registry_ttl_s=0) as api:
        assert [api.get_registry().version for _ in range(2)] == ["2026.01.02"] * 2


def test_a_folder_that_cannot_be_used_costs_the_file_alone(fake: FakeServer, tmp_path: Path) -> None:
    registry = Registry(fake)
    (tmp_path / "file").write_text("no folder")
    api = open_api(fake, cache_dir=tmp_path / "file" / "cache")
    assert api.get_registry() is api.get_registry()
    assert registry.statuses == [200]


def _read_often(url: str, count: int) -> None:
    for _ in range(count):
        with SyncAPIService(url, KEY, registry_ttl_s=0) as api:
            assert api.get_registry().version == "2026.01.01"


def test_processes_write_one_file_at_once(fake: FakeServer, tmp_path: Path) -> None:
    Registry(fake)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_read_often, args=(fake.url, 40)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    [folder] = (tmp_path / "cache").iterdir()
    assert [file.name for file in folder.iterdir()] == ["registry"]


def test_models_are_found_by_names_and_never_guessed(fake: FakeServer, api: APIService) -> None:
    Registry(fake)
    for name in ("openai:gpt-5", "OpenAI/gpt-5", "openai/five", "five", "gpt-5"):
        assert api.get_model(name).key == "openai:gpt-5"
    assert api.get_model("org/big").key == api.get_model("other/org/big").key == "other:org/big"
    for name in ("", "gpt", "GPT-5", "openai:tiny", ":gpt-5", "xopenai:gpt-5"):
        with pytest.raises(APINotFoundError):
            api.get_model(name)
    with pytest.raises(APINotFoundError, match="acme:tiny, other:tiny"):
        api.get_model("tiny")
    assert [each.key for each in api.list_models(capabilities="reasoning")] == ["acme:tiny"]
    assert [each.key for each in api.list_models(providers=["ACME"], active=False)] == ["acme:gpt-5"]
    with pytest.raises(APIValidationError, match="telepathy"):
        api.list_models(capabilities=["vision", "telepathy"])


def test_filters_choose_as_the_server_does(server: ServerProcess) -> None:
    questions: list[dict[str, str]] = [{"capabilities": each} for each in CAPABILITIES]
    questions += [
        {"providers": "openai,google", "capabilities": "vision,thinking"},
        {"providers": "nobody"},
        {},
    ]
    with SyncAPIService(server.url) as api:
        for question in questions:
            answer = httpx.get(f"{server.url}/registry.json", params=question).json()
            ours = api.get_registry(**question)
            assert list(ours.models) == list(answer["models"]), question
            assert list(ours.providers) == list(answer["providers"]), question
        known = json.dumps(httpx.get(f"{server.url}/registry.json?capabilities=x").json())
        assert all(each in known for each in CAPABILITIES)
