"""Marks: the highest position per key, whoever notes it, in whatever order."""

import asyncio
import random
from datetime import timedelta

import pytest

from shared.errors import UnavailableError
from shared.redis import Marks, Redis
from tests.conftest import StartServer
from tests.redis.conftest import Open, SilentServer

pytestmark = pytest.mark.redis

KEEP = timedelta(minutes=1)


async def test_the_highest_offset_of_a_partition_wins(redis: Redis) -> None:
    marks = Marks(redis, "marks:", KEEP)
    assert await marks.find(b"a") is None
    for offset in (5, 3, 9, 9, 1):
        await marks.raise_to(b"a", (2, offset))
    assert await marks.find(b"a") == (2, 9)
    assert await marks.find(b"b") is None


async def test_another_partition_replaces_what_was_there(redis: Redis) -> None:
    marks = Marks(redis, "marks:", KEEP)
    await marks.raise_to(b"a", (2, 900))
    await marks.raise_to(b"a", (1, 4))
    assert await marks.find(b"a") == (1, 4)


async def test_large_offsets_are_told_apart(redis: Redis) -> None:
    marks = Marks(redis, "marks:", KEEP)
    for offset in (2**53, 2**53 + 1, 2**53, 2**63 - 2, 2**63 - 1, 2**63 - 2, 2**32, 2**32 - 1):
        await marks.raise_to(b"a", (2**31, offset))
    assert await marks.find(b"a") == (2**31, 2**63 - 1)
    await marks.raise_to(b"b", (0, 0))
    assert await marks.find(b"b") == (0, 0)


async def test_many_writers_at_once_leave_the_highest(redis_url: str, open_client: Open) -> None:
    writers = [Marks(await open_client(redis_url), "marks:", KEEP) for _ in range(3)]
    offsets = list(range(300))
    random.Random(3).shuffle(offsets)
    notes = [
        writers[offset % 3].raise_to(key, (7, offset)) for offset in offsets for key in (b"a", b"b\xff\x00 b")
    ]
    await asyncio.gather(*notes)
    assert await asyncio.gather(*(each.find(b"a") for each in writers)) == [(7, 299)] * 3
    assert await writers[0].find(b"b\xff\x00 b") == (7, 299)


async def test_callers_share_round_trips(own_server: StartServer, open_client: Open) -> None:
    redis = await open_client(f"redis://{own_server('redis').address}")
    marks = Marks(redis, "marks:", KEEP)
    await asyncio.gather(*(marks.raise_to(b"%d" % i, (0, i)) for i in range(200)))
    found = await asyncio.gather(*(marks.find(b"%d" % i) for i in range(200)))
    assert found == [(0, i) for i in range(200)]
    assert await count_calls(redis, "evalsha") <= 5
    assert await count_calls(redis, "mget") <= 5


async def test_a_caller_who_leaves_disturbs_nobody(redis: Redis) -> None:
    marks = Marks(redis, "marks:", KEEP)
    await asyncio.gather(*(marks.raise_to(b"%d" % i, (0, i)) for i in range(100)))
    tasks = [asyncio.create_task(marks.find(b"%d" % i)) for i in range(100)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    await asyncio.wait(tasks)
    stayed = [(i, task) for i, task in enumerate(tasks) if not task.cancelled()]
    assert len(stayed) >= 66
    assert all(task.result() == (0, i) for i, task in stayed)


async def test_a_mark_goes_after_its_time(redis: Redis) -> None:
    marks = Marks(redis, "marks:", timedelta(milliseconds=300))
    await marks.raise_to(b"a", (0, 7))
    assert 0 < await redis.call("PTTL", "marks:a") <= 300
    async with asyncio.timeout(20):
        while await marks.find(b"a") is not None:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.05)


async def test_a_lower_mark_does_not_lengthen_the_life_of_a_higher_one(redis: Redis) -> None:
    await Marks(redis, "marks:", timedelta(minutes=1)).raise_to(b"a", (0, 7))
    await Marks(redis, "marks:", timedelta(hours=1)).raise_to(b"a", (0, 6))
    assert 0 < await redis.call("PTTL", "marks:a") <= 60_000


async def test_redis_away_is_said_at_once(silent_server: SilentServer, open_client: Open) -> None:
    redis = await open_client(silent_server.url, time_limit=timedelta(milliseconds=50))
    marks = Marks(redis, "marks:", KEEP)
    with pytest.raises(UnavailableError):
        await marks.raise_to(b"a", (0, 1))
    with pytest.raises(UnavailableError):
        await marks.find(b"a")


async def test_what_cannot_be_kept_is_an_error(redis: Redis) -> None:
    with pytest.raises(ValueError, match="keep"):
        Marks(redis, "marks:", timedelta(0))


async def count_calls(redis: Redis, command: str) -> int:
    """How often the server has run a command since its start, for all its clients."""
    statistics = (await redis.call("INFO", "commandstats")).decode()
    line = next((line for line in statistics.splitlines() if line.startswith(f"cmdstat_{command}:")), "=0,")
    return int(line.split("=")[1].split(",")[0])
