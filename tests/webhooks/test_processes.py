"""Webhooks as production runs them: `serve webhooks` and `worker webhooks`, processes of their own."""

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from aiohttp import web

from services.all_in_one import SCHEMAS
from shared.contracts.topics import REGISTRY_PUBLISHED
from shared.event_log.port import Record
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.postgres import migrate
from shared.proofs.signing import encode_base64
from tests.live.process import ServerProcess
from tests.webhooks.house import GATEWAY, Street, published
from tests.webhooks.receiver import Received, Receiver, take

KEY = b64encode(b"k" * 32).decode()
CHANGE = {"type": "price.changed", "model": "acme:m", "field": "input", "old": 1, "new": 2}


@contextmanager
def run(folder: Path, command: str, postgres_url: str, registry: str) -> Iterator[ServerProcess]:
    process = ServerProcess(
        folder / command,
        [sys.executable, "-m", "services", command, "webhooks"],
        LLMRING_DATABASE_URL=postgres_url,
        LLMRING_REGISTRY_URL=registry,
        LLMRING_WEBHOOKS_KEY=KEY,
        LLMRING_WEBHOOKS_ALLOW_PRIVATE="true",
        LLMRING_PRINCIPAL_PUBLIC_KEYS=encode_base64(GATEWAY.public_key),
    )
    process.spawn()
    try:
        yield process
    finally:
        assert process.stop() in (0, -9)


async def test_a_worker_killed_at_work_delivers_again_under_the_same_id(
    street: Street, receiver: Receiver, tmp_path: Path
) -> None:
    await migrate(street.url, [EVENT_LOG_SCHEMA, *SCHEMAS])
    house = await street.open_house(sealing_keys=(KEY,))
    endpoint = await house.register(receiver.url, "price.changed")
    registry = await Receiver().open(street.stack)

    async def tell_changes(asked: Received) -> web.Response:
        assert asked.path == "/registry/v/2031.05.03/changes.json"
        house.registry.add("2031.05.03", [CHANGE], house.clock.at)
        return web.json_response(body=house.registry.versions["2031.05.03"])

    async def hang(_: Received) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    registry.answer, receiver.answer = tell_changes, hang
    house.advance(seconds=1)
    record = Record(b"registry", published("2031.05.03", house.clock.at))
    await house.event_log.append(REGISTRY_PUBLISHED, [record])
    address = registry.url.removesuffix("/hook")
    with run(tmp_path, "worker", street.url, address) as worker:
        await receiver.wait_for(1)
        worker.kill()
        receiver.answer = take
        async with house.database.connection() as connection:  # as if the claim's time were over
            await connection.execute("UPDATE webhooks.deliveries SET claimed_until = now()")
        worker.spawn()
        await receiver.wait_for(2)
        await asyncio.to_thread(worker.wait_ready)
        assert await asyncio.to_thread(worker.stop) == 0
    first, second = receiver.received
    assert first.id == second.id
    assert second.verify(endpoint["secret"])["data"]["changes"] == [CHANGE]
    [delivery] = await house.log(endpoint)
    assert (delivery["status"], len(delivery["attempts"])) == ("delivered", 1)
    assert len(registry.received) == 1, "what was taken is not asked for again"


async def test_the_service_needs_postgres_alone(street: Street, tmp_path: Path) -> None:
    house = await street.open_house(sealing_keys=(KEY,))
    with run(tmp_path, "serve", street.url, "") as service:
        await asyncio.to_thread(service.wait_ready)
        path = f"{service.url}/api/v1/webhooks"
        assert (await asyncio.to_thread(httpx.get, path)).status_code == 401
        body = json.dumps({"url": "http://127.0.0.1:9/", "events": ["model.added"]})
        made = await asyncio.to_thread(httpx.post, path, content=body, headers=house.principal())
        assert made.status_code == 201
        assert [each["id"] for each in (await house.call("GET"))["webhooks"]] == [made.json()["id"]]
        assert await asyncio.to_thread(service.stop) == 0
