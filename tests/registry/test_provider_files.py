"""One provider's models by its own numbers, as the public registry's files have them."""

import hashlib
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.contracts.registry import Model
from tests.pricing.price_card import CARD, make_model
from tests.registry.conftest import NOON, Running, Start, exact

# What the public registry's own files say: number of models and `updated_at` of each, counting from 1.
FILES = {
    "openai": [
        (29, "2025-09-21T20:12:56.754311"),
        (29, "2025-09-28T18:25:49.141097"),
        (34, "2025-10-12T20:01:57.492334"),
        (51, "2025-10-12T20:17:31.236654"),
        (57, "2026-01-02T23:21:25.798056"),
        (58, "2026-01-03T12:07:39.730334"),
        (77, "2026-08-18T17:29:16.542543"),
    ],
    "anthropic": [
        (14, "2025-09-14T22:09:57.849796"),
        (6, "2025-09-21T20:12:56.747397"),
        (6, "2025-09-28T18:25:49.129813"),
        (10, "2025-10-20T09:10:54.426231"),
        (10, "2025-10-20T16:56:01.253324"),
        (11, "2026-01-02T23:21:21.674150"),
        (19, "2026-08-18T17:27:46.968480"),
        (19, "2026-08-18T20:51:20.567430"),
        (19, "2026-08-18T21:05:03.715411"),
    ],
    "google": [
        (18, "2025-09-21T20:12:56.750088"),
        (18, "2025-09-28T18:25:49.131927"),
        (13, "2025-10-20T19:43:21.821434"),
        (20, "2026-01-02T23:21:30.067829"),
        (28, "2026-08-18T17:30:40.820947"),
    ],
}

HISTORY_DIGEST = "dc624adcbf8fe8e757caf61c3609d437f275d03e45d70f575d7206d7fe6673b3"


async def current(registry: Running, provider: str) -> Any:
    answer = await registry.get(f"/registry/{provider}/models.json")
    assert answer.status_code == 200, answer.text
    return exact(answer)


async def test_the_history_has_the_numbers_that_the_files_have(start: Start) -> None:
    running: Running = await start(seed=True)
    digest = hashlib.sha256()
    for provider, files in FILES.items():
        for number, (models, updated_at) in enumerate(files, 1):
            answer = await running.get(f"/registry/{provider}/v/{number}/models.json")
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            body = exact(answer)
            assert list(body) == ["provider", "version", "updated_at", "models"]
            assert (body["provider"], body["version"], len(body["models"])) == (provider, number, models)
            assert datetime.fromisoformat(body["updated_at"]) == datetime.fromisoformat(f"{updated_at}Z")
            assert {model["provider"] for model in body["models"]} == {provider}
            digest.update(answer.content)
        now = await current(running, provider)
        last = {f"{provider}:{model['model_name']}": model for model in body["models"]}
        assert now == {**body, "models": last}
        assert (await running.get(f"/registry/{provider}/v/{len(files) + 1}/models.json")).status_code == 404
    # These bytes are for ever: a release that writes them otherwise breaks who has pinned them.
    assert digest.hexdigest() == HISTORY_DIGEST


async def test_a_provider_counts_only_the_publishes_that_change_its_models(card: Running) -> None:
    assert [(await current(card, name))["version"] for name in ("acme", "globex")] == [1, 1]
    await card.must_publish(make_model("new", "globex"))
    await card.must_publish(make_model("penny", input="0.11", output="0.40"), make_model("b", "initech"))
    found = {name: await current(card, name) for name in ("acme", "globex", "initech")}
    assert [each["version"] for each in found.values()] == [2, 2, 1]
    assert list(found["globex"]["models"]) == ["globex:new", "globex:quill-1"]
    assert found["acme"]["updated_at"] == "2026-11-02T12:00:00+00:00"
    await card.must_publish(make_model("b", "initech"), mode="replace", confirm=True)
    emptied = await current(card, "globex")
    assert (emptied["version"], emptied["models"]) == (3, {})
    assert (await card.get("/registry/globex/v/3/models.json")).json()["models"] == []
    assert (await current(card, "initech"))["version"] == 1


async def test_the_current_file_is_that_of_the_version_in_force(card: Running) -> None:
    in_a_week = NOON + timedelta(days=7)
    cheaper = make_model("penny", input="0.09", output="0.40")
    await card.must_publish(cheaper, effective_from=in_a_week.isoformat())
    assert (await current(card, "acme"))["version"] == 1
    announced = exact(await card.get("/registry/acme/v/2/models.json"))
    card.clock.at = in_a_week
    assert list((await current(card, "acme"))["models"].values()) == announced["models"]
    assert (await current(card, "acme"))["version"] == 2


async def test_a_numbered_file_is_the_same_bytes_and_tag_for_ever(start: Start) -> None:
    one: Running = await start(seed=True)
    path = "/registry/openai/v/7/models.json"
    first = await one.get(path)
    await one.must_publish({"provider": "openai", "model_name": "gpt-4o", "description": "x"})
    two: Running = await start()
    for running in (one, two):
        again = await running.get(path)
        assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
        assert (await running.get(path, if_none_match=first.headers["etag"])).status_code == 304
        assert (await current(running, "OpenAI"))["version"] == 8


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/registry/nobody/models.json", 404, "known are acme, globex"),
        ("/registry/nobody/v/1/models.json", 404, "it has none"),
        ("/registry/acme/v/2/models.json", 404, "the newest version of acme is 1"),
        ("/registry/acme/v/999999999/models.json", 404, "the newest version of acme is 1"),
        ("/registry/acme/v/0/models.json", 422, "whole number"),
        ("/registry/acme/v/-1/models.json", 422, "whole number"),
        ("/registry/acme/v/01/models.json", 422, "whole number"),
        ("/registry/acme/v/9999999999/models.json", 422, "whole number"),
        ("/registry/acme/v/2026.11.02/models.json", 422, "whole number"),
        ("/registry/%00/models.json", 404, "There is no provider"),
    ],
)
async def test_what_is_not_there_is_told_so(card: Running, path: str, status: int, said: str) -> None:
    answer = await card.get(path)
    assert answer.status_code == status, answer.text
    assert said in answer.text


async def test_an_endpoint_that_the_client_does_not_know_is_left_out(card: Running) -> None:
    await card.must_publish(
        {"provider": "initech", "model_name": "embed", "api_endpoint": "embeddings"},
        {"provider": "initech", "model_name": "talk", "api_endpoint": "chat", "display_name": "T"},
    )
    models = (await current(card, "initech"))["models"]
    assert "api_endpoint" not in models["initech:embed"]
    assert models["initech:talk"]["api_endpoint"] == "chat"
    whole = exact(await card.get("/registry"))["models"]
    assert {**models["initech:embed"], "api_endpoint": "embeddings"} == whole["initech:embed"]


async def test_a_model_stands_in_the_file_as_it_stands_in_the_registry(card: Running) -> None:
    every: dict[str, Model] = CARD
    whole = (await card.get("/registry")).json()["models"]
    models = (await current(card, "acme"))["models"]
    assert set(models) == {key for key in every if key.startswith("acme:")}
    assert (await card.get("/registry/acme/models.json/")).json()["models"] == {
        key: model for key, model in whole.items() if key.startswith("acme:")
    }
