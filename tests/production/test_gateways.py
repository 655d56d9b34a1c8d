"""Three gateway processes on one Redis count as one, and as three at worst while it is away."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import aiohttp
import httpx
import pytest

from tests.production.conftest import CALL, Customer, Town
from tests.production.processes import Process, wait_until

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.xdist_group("production"),
]


@pytest.fixture(scope="module")
def gateways(town: Town) -> Iterator[list[str]]:
    """The URLs of three gateways."""
    more = [Process("gateway", town.deployment.folder, dict(town.deployment.environment)) for _ in range(2)]
    for process in more:
        process.spawn()
    try:
        for process in more:
            process.wait_ready()
        yield [town.deployment.url, *(process.url for process in more)]
    finally:
        assert {process.stop() for process in more} == {0}


def limit(town: Town, customer: Customer, requests_per_minute: int) -> None:
    town.operator.patch(
        f"/api/v1/admin/accounts/{customer.account_id}", json={"requests_per_minute": requests_per_minute}
    ).raise_for_status()


async def send(session: aiohttp.ClientSession, url: str, key: str) -> tuple[int, str | None]:
    async with session.post(f"{url}/api/v1/log", json=CALL, headers={"X-API-Key": key}) as answer:
        await answer.read()
        return answer.status, answer.headers.get("X-RateLimit-Remaining")


async def burst(gateways: list[str], key: str, count: int) -> list[tuple[int, str | None]]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await asyncio.gather(*(send(session, gateways[i % 3], key) for i in range(count)))


@pytest.mark.parametrize(("most", "count"), [(5, 20), (60, 200)])
def test_of_many_at_once_exactly_the_limit_passes(
    town: Town, gateways: list[str], most: int, count: int
) -> None:
    """Case P2."""
    customer = town.open_account()
    limit(town, customer, most)
    answers = asyncio.run(burst(gateways, customer.key, count))
    assert Counter(status for status, _ in answers) == {200: most, 429: count - most}
    left = sorted(int(remaining or -1) for status, remaining in answers if status == 200)
    assert left == list(range(most))


def test_a_redis_that_is_killed_and_comes_back_under_load_costs_no_request_and_bounds_hold(
    town: Town, gateways: list[str]
) -> None:
    most = 100
    customers = [town.open_account() for _ in range(3)]
    for customer in customers:
        limit(town, customer, most)
    redis = town.servers["redis"]
    seen: dict[str, Counter[int]] = {customer.key: Counter() for customer in customers}

    async def load() -> None:
        stop = asyncio.Event()

        async def call(url: str, key: str, session: aiohttp.ClientSession) -> None:
            while not stop.is_set():
                status, _ = await send(session, url, key)
                seen[key][status] += 1
                await asyncio.sleep(0.02)

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            callers = [asyncio.create_task(call(url, key, session)) for key in seen for url in gateways]
            await asyncio.sleep(1)
            await asyncio.to_thread(redis.kill)
            try:
                await asyncio.sleep(3)
            finally:
                await asyncio.to_thread(redis.start)
            await asyncio.sleep(3)
            stop.set()
            await asyncio.gather(*callers)

    began = time.monotonic()
    asyncio.run(load())
    assert time.monotonic() - began < 50, "longer than a window: the bound would be another one"
    for counted in seen.values():
        assert counted.keys() == {200, 429}, "nothing failed"
        assert most <= counted[200] <= 3 * most
    for url in gateways:
        wait_until(lambda url=url: httpx.get(f"{url}/health").json()["redis"] == "connected", 10)
    fresh = town.open_account()
    limit(town, fresh, 5)
    assert Counter(status for status, _ in asyncio.run(burst(gateways, fresh.key, 20))) == {200: 5, 429: 15}
