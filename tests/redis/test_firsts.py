"""Firsts: one value per key stands, the same for everybody."""

import asyncio
from datetime import timedelta

import pytest

from shared.errors import UnavailableError
from shared.redis import Firsts, Redis
from tests.conftest import StartServer
from tests.redis.conftest import Open, SilentServer
from tests.redis.test_marks import count_calls

pytestmark = pytest.mark.redis

KEEP = timedelta(minutes=1)


async def test_the_first_value_stands(redis: Redis) -> None:
    firsts = Firsts(redis, "firsts:", KEEP)
    assert await firsts.find(b"a") is None
    assert await firsts.settle(b"a", b"one") == b"one"
    assert await firsts.settle(b"a", b"two") == b"one"
    assert await firsts.find(b"a") == b"one"
    assert await firsts.settle(b"b", b"") == b""
    assert await firsts.settle(b"b", b"late") == b""


async def test_of_many_at_once_everybody_gets_the_same(redis_url: str, open_client: Open) -> None:
    houses = [Firsts(await open_client(redis_url), "firsts:", KEEP) for _ in range(3)]
    for round_number in range(20):
        key = b"key\x00\xff%d" % round_number
        values = [b"%d" % i for i in range(60)]
        settled = await asyncio.gather(*(houses[i % 3].settle(key, value) for i, value in enumerate(values)))
        assert len(set(settled)) == 1
        assert settled[0] in values
        assert await houses[0].find(key) == settled[0]


async def test_one_round_trip_may_hold_the_same_key_twice(redis: Redis) -> None:
    firsts = Firsts(redis, "firsts:", KEEP)
    settled = await asyncio.gather(*(firsts.settle(b"k%d" % (i % 10), b"%d" % i) for i in range(100)))
    assert settled == [b"%d" % (i % 10) for i in range(100)]


async def test_callers_share_round_trips(own_server: StartServer, open_client: Open) -> None:
    redis = await open_client(f"redis://{own_server('redis').address}")
    firsts = Firsts(redis, "firsts:", KEEP)
    await asyncio.gather(*(firsts.settle(b"%d" % i, b"v%d" % i) for i in range(200)))
    found = await asyncio.gather(*(firsts.find(b"%d" % i) for i in range(200)))
    assert found == [b"v%d" % i for i in range(200)]
    assert await count_calls(redis, "evalsha") <= 8
    assert await count_calls(redis, "mget") <= 8


async def test_a_large_value_comes_back_whole(redis: Redis) -> None:
    firsts = Firsts(redis, "firsts:", KEEP)
    value = bytes(range(256)) * 4000
    assert await firsts.settle(b"a", value) == value
    assert await firsts.settle(b"a", b"other") == value


async def test_a_value_goes_after_its_time_and_coming_late_does_not_lengthen_it(redis: Redis) -> None:
    assert await Firsts(redis, "firsts:", KEEP).settle(b"a", b"one") == b"one"
    assert await Firsts(redis, "firsts:", timedelta(hours=1)).settle(b"a", b"two") == b"one"
    assert 0 < await redis.call("PTTL", "firsts:a") <= 60_000
    short = Firsts(redis, "firsts:", timedelta(milliseconds=200))
    await short.settle(b"b", b"one")
    async with asyncio.timeout(20):
        while await short.settle(b"b", b"two") != b"two":  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.05)


async def test_redis_away_is_said_at_once(silent_server: SilentServer, open_client: Open) -> None:
    redis = await open_client(silent_server.url, time_limit=timedelta(milliseconds=50))
    firsts = Firsts(redis, "firsts:", KEEP)
    with pytest.raises(UnavailableError):
        await firsts.settle(b"a", b"one")
    with pytest.raises(UnavailableError):
        await firsts.find(b"a")
