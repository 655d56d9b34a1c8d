"""Two ingest processes and two raters on Kafka, Postgres and Redis, each of which goes away for a while."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from shared.contracts.topics import USAGE_DEAD
from shared.errors import UnavailableError
from tests.conftest import StartServer
from tests.ingest.conftest import Way
from tests.ingest.house import Ingest, Street, open_street

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.slow]


@pytest.fixture
async def street_on_kafka(postgres_url: str, own_server: StartServer) -> AsyncIterator[Street]:
    kafka = await asyncio.to_thread(own_server, "kafka")
    async with open_street(postgres_url, kafka.address) as street:
        yield street


class Client:
    """Sends records with keys of its own to either process, until each is acknowledged, some once more."""

    def __init__(self, number: int, doors: list[Ingest]) -> None:
        self._number = number
        self._doors = doors
        self.answers: dict[str, set[bytes]] = {}
        self.slowest_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        sent = 0
        while not stop.is_set():
            key = f"c{self._number}-{sent}"
            sent += 1
            answers = self.answers[key] = set()
            while len(answers) == 0 or random.random() < 0.3:
                started = time.monotonic()
                try:
                    answers.add(await random.choice(self._doors).log(key))
                except UnavailableError:
                    await asyncio.sleep(0.05)
                self.slowest_s = max(self.slowest_s, time.monotonic() - started)
            await asyncio.sleep(0.005)


async def tick(doors: list[Ingest], stop: asyncio.Event) -> None:
    """Let time pass, so that an answer made anew would be another one."""
    while not stop.is_set():
        await asyncio.sleep(0.05)
        for door in doors:
            door.clock.at = door.clock.at.replace(microsecond=door.clock.at.microsecond + 1)


async def see_progress(clients: list[Client]) -> None:
    """For two seconds and more, until every client has had several answers."""
    before = [len(client.answers) for client in clients]
    await asyncio.sleep(2)
    async with asyncio.timeout(20):
        while any(len(c.answers) < n + 3 for c, n in zip(clients, before, strict=True)):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.1)


async def test_every_key_is_one_record_with_one_answer_whatever_goes_away(
    street_on_kafka: Street, to_postgres: Way, to_redis: Way, postgres_url: str
) -> None:
    street = street_on_kafka
    doors = [
        await street.open_ingest(url=url, redis_url=to_redis.url, redis_limit=timedelta(seconds=0.5))
        for url in (to_postgres.url, postgres_url)
    ]
    stop = asyncio.Event()
    clients = [Client(number, doors) for number in range(8)]
    async with street.rating(to_postgres.url), street.rating():
        running = [asyncio.create_task(client.run(stop)) for client in clients]
        running.append(asyncio.create_task(tick(doors, stop)))
        for way in (to_postgres, to_redis, to_postgres):
            await way.link.cut()
            await see_progress(clients)
            await way.link.open()
            await asyncio.sleep(3)
            way.link.swallow()
            await see_progress(clients)
            way.link.let_through()
            await asyncio.sleep(3)
        stop.set()
        await asyncio.gather(*running)
    await street.rate_all()
    assert max(client.slowest_s for client in clients) < 10
    told = {key: answers for client in clients for key, answers in client.answers.items()}
    assert {key for key, answers in told.items() if len(answers) != 1} == set()
    rows = {str(row["log_id"]): row["occurred_at"] for row in await street.rows()}
    answered = [json.loads(answer) for answers in told.values() for answer in answers]
    assert len(rows) == len(answered)
    for answer in answered:
        assert rows[answer["log_id"]].isoformat().replace("+00:00", "Z") == answer["timestamp"]
    assert await street.logged(USAGE_DEAD) == []
    await street.assert_rollups_add_up()
