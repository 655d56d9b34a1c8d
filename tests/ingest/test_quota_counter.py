"""One suite for what counts a month: in this process's memory, and in Redis."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import date, timedelta
from uuid import UUID

import pytest

from services.ingest.quota_counter import Bucket, Item, MemoryCounter, QuotaCounter
from services.ingest.shared_counter import SharedCounter
from shared.redis import Redis, open_redis
from tests.conftest import StartServer
from tests.ingest.house import PATIENT, A, B
from tests.servers.redis import ask_redis

MAY = Bucket(A, date(2031, 5, 1))
pytestmark = pytest.mark.redis


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = await open_redis(redis_url, time_limit=PATIENT)
    yield redis
    await redis.close()


@pytest.fixture(params=["memory", "redis"])
def counter(request: pytest.FixtureRequest, redis: Redis) -> QuotaCounter:
    return MemoryCounter() if request.param == "memory" else SharedCounter(redis, "test:quota:")


async def test_nothing_is_counted_before_somebody_says_where_to_begin(counter: QuotaCounter) -> None:
    assert await counter.take(MAY, 5, [None]) is None
    await counter.begin(MAY, 4)
    await counter.begin(MAY, 0)  # somebody was first
    taken = await counter.take(MAY, 5, [None, None])
    assert taken == ([True, False], 5)
    assert await counter.take(Bucket(B, MAY.month), 5, [None]) is None
    await counter.forget(MAY)
    assert await counter.take(MAY, 5, [None]) is None


async def test_a_known_name_passes_uncounted_and_a_refused_one_is_not_known(counter: QuotaCounter) -> None:
    one, two = UUID(int=1), UUID(int=2)
    await counter.begin(MAY, 0)
    assert await counter.take(MAY, 1, [one]) == ([True], 1)
    assert await counter.take(MAY, 1, [two, None, one]) == ([False, False, True], 1)
    assert await counter.take(MAY, 2, [two]) == ([True], 2)
    await counter.give_back(MAY, [one, two])
    assert await counter.take(MAY, 1, [one, two]) == ([True, False], 1)
    assert await counter.take(MAY, 10**12, [None] * 3) == ([True] * 3, 4)
    assert await counter.take(MAY, 0, []) == ([], 4)


async def test_large_counts_and_large_batches_are_exact(counter: QuotaCounter) -> None:
    await counter.begin(MAY, 999_999_999_000)
    items: list[Item] = [UUID(int=n) for n in range(1, 951)] + [None] * 100
    taken = await counter.take(MAY, 10**12, items)
    assert taken == ([True] * 1000 + [False] * 50, 10**12)


async def test_whatever_is_asked_at_once_the_limit_is_met_exactly(counter: QuotaCounter) -> None:
    seed = random.Random(7)
    await counter.begin(MAY, 0)
    asked = [
        [seed.choice([None, UUID(int=seed.randint(1, 40))]) for _ in range(seed.randint(1, 4))]
        for _ in range(150)
    ]
    taken = await asyncio.gather(*(counter.take(MAY, 100, items) for items in asked))
    unnamed, names = 0, set()
    for items, each in zip(asked, taken, strict=True):
        assert each is not None
        for item, passed in zip(items, each.passed, strict=True):
            if passed and item is None:
                unnamed += 1
            elif passed:
                names.add(item)
    assert unnamed + len(names) == 100
    assert await counter.take(MAY, 100, []) == ([], 100)


async def test_counts_in_redis_end_by_themselves_and_names_sooner(redis: Redis, redis_url: str) -> None:
    counter = SharedCounter(redis, "test:quota:")
    await counter.begin(MAY, 0)
    await counter.take(MAY, 5, [UUID(int=1), None])
    left = {key: await redis.call("PTTL", key) for key in await redis.call("KEYS", "test:*")}
    assert len(left) == 2
    for key, ms in left.items():
        keep = timedelta(minutes=15) if b":name:" in key else timedelta(days=40)
        assert 0 < ms <= keep / timedelta(milliseconds=1)


async def test_a_redis_that_comes_back_with_what_it_once_saved_does_not_count(
    own_server: StartServer,
) -> None:
    server = own_server("redis")
    redis = await open_redis(f"redis://{server.address}", time_limit=PATIENT)
    counter = SharedCounter(redis, "test:quota:")
    await counter.begin(MAY, 0)
    await counter.take(MAY, 9, [None])
    ask_redis(server.address, "SAVE")
    await counter.take(MAY, 9, [None])
    server.kill()
    server.start()
    await redis.close()
    redis = await open_redis(f"redis://{server.address}", time_limit=PATIENT)
    counter = SharedCounter(redis, "test:quota:")
    assert ask_redis(server.address, "DBSIZE") != ":0\r\n"
    assert await counter.take(MAY, 9, [None]) is None
    await counter.begin(MAY, 2)
    assert await counter.take(MAY, 9, [None]) == ([True], 3)
    await redis.close()
