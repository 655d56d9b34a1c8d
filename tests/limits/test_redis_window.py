"""The shared window: cases P1, P2, P7 and P8, for two gateways on one Redis."""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from math import ceil

import pytest

from shared.limits.memory import MemoryRateLimiter
from shared.limits.port import Decision, Key, RateLimiter
from shared.limits.redis import RedisRateLimiter
from shared.redis import Redis
from tests.redis.conftest import Open

pytestmark = pytest.mark.redis

T0 = 1_800_000_000.0


@pytest.fixture
async def first(redis: Redis) -> RedisRateLimiter:
    """The limiter of one gateway."""
    return RedisRateLimiter(redis, "limit:", 1000)


@pytest.fixture
async def second(redis_url: str, open_client: Open) -> RedisRateLimiter:
    """The limiter of another gateway, on the same Redis."""
    return RedisRateLimiter(await open_client(redis_url), "limit:", 1000)


async def hits(limiter: RateLimiter, n: int, limit: int, now: float, key: str = "k") -> list[Decision]:
    return await asyncio.gather(*(limiter.hit(key, limit, now) for _ in range(n)))


async def list_ttls_ms(redis: Redis) -> list[int]:
    return [await redis.call("PTTL", key) for key in await redis.call("KEYS", "limit:*")]


@pytest.mark.parametrize("limit", [1, 60, 300, 1000, 5000])
async def test_no_second_allowance_at_the_minutes_edge(
    first: RedisRateLimiter, second: RedisRateLimiter, limit: int
) -> None:
    assert all(d.allowed for d in await hits(first, limit - limit // 2, limit, T0 - 0.5))
    assert all(d.allowed for d in await hits(second, limit // 2, limit, T0 - 0.5))
    refused = await hits(first, 60, limit, T0 + 0.2) + await hits(second, 60, limit, T0 + 0.2)
    assert {d.allowed for d in refused} == {False}
    assert {(d.remaining, d.retry_after_s, d.reset_at) for d in refused} == {(0, 60, 1_800_000_060)}
    late = await second.hit("k", limit, T0 + 59.4)
    assert (late.allowed, late.retry_after_s) == (False, 1)
    assert await first.hit("k", limit, T0 + 59.6) == Decision(True, limit, limit - 1, 1_800_000_120, None)


@pytest.mark.parametrize("round_number", range(5))
async def test_simultaneous_hits_at_two_gateways_pass_exactly_the_limit(
    first: RedisRateLimiter, second: RedisRateLimiter, round_number: int
) -> None:
    decisions = await asyncio.gather(*((first, second)[i % 2].hit("k", 60, T0) for i in range(200)))
    passed = sorted((d.remaining for d in decisions if d.allowed), reverse=True)
    assert passed == list(range(59, -1, -1))
    assert sum(not d.allowed for d in decisions) == 140
    assert {d.retry_after_s for d in decisions} == {None, 60}
    assert (first.fallbacks, second.fallbacks) == (0, 0)


async def test_a_client_that_sleeps_as_told_is_admitted(
    first: RedisRateLimiter, second: RedisRateLimiter
) -> None:
    now, refused = T0, 0
    for i in range(400):
        limiter = (first, second)[i % 3 == 0]
        decision = await limiter.hit("k", 60, now)
        now += 0.037 if decision.retry_after_s is None else decision.retry_after_s
        if not decision.allowed:
            refused += 1
            assert (await limiter.hit("k", 60, now)).allowed, i
    assert refused >= 5


async def test_refusals_are_not_counted(first: RedisRateLimiter, second: RedisRateLimiter) -> None:
    await hits(first, 60, 60, T0)
    await hits(second, 1000, 60, T0 + 30)
    assert (await second.hit("k", 60, T0 + 60)).allowed


async def test_a_lowered_limit_leaves_none_and_says_when_one_passes(
    first: RedisRateLimiter, second: RedisRateLimiter
) -> None:
    for i in range(200):
        await (first, second)[i % 2].hit("k", 1000, T0 + i * 0.1)
    refused = await first.hit("k", 60, T0 + 20)
    assert (refused.allowed, refused.limit, refused.remaining) == (False, 60, 0)
    assert refused.retry_after_s == ceil(14.0 + 60 - 20)  # when hit 141 leaves, 59 are left
    assert (await second.hit("k", 60, T0 + 20 + refused.retry_after_s)).allowed


async def test_a_raised_limit_takes_effect_at_once(first: RedisRateLimiter, second: RedisRateLimiter) -> None:
    await hits(first, 61, 60, T0)
    assert await second.hit("k", 300, T0) == Decision(True, 300, 239, 1_800_000_060, None)


async def test_a_heavy_request_is_counted_whole_or_not_at_all(
    first: RedisRateLimiter, second: RedisRateLimiter
) -> None:
    assert (await first.hit("k", 60, T0, cost=50)).remaining == 10
    refused = await second.hit("k", 60, T0 + 1, cost=11)
    assert (refused.allowed, refused.remaining, refused.retry_after_s) == (False, 10, 59)
    assert (await second.hit("k", 60, T0 + 1, cost=10)).remaining == 0


async def test_a_light_request_is_not_refused_for_a_heavy_one_that_did_not_fit(
    first: RedisRateLimiter, second: RedisRateLimiter
) -> None:
    await hits(second, 30, 60, T0)
    heavy, light = await asyncio.gather(first.hit("k", 60, T0, cost=60), first.hit("k", 60, T0))
    assert (heavy.allowed, heavy.remaining) == (False, 30)
    assert (light.allowed, light.remaining) == (True, 29)


async def test_what_one_gateway_takes_back_is_free_at_the_other(
    first: RedisRateLimiter, second: RedisRateLimiter
) -> None:
    await hits(first, 30, 60, T0)
    await hits(second, 30, 60, T0 + 1)
    await second.take_back("k", T0 + 1)
    assert [d.allowed for d in await hits(first, 2, 60, T0 + 2)] == [True, False]
    await first.take_back("k", T0 + 2)
    await first.take_back("unknown", T0)
    assert (await second.hit("k", 60, T0 + 60)).remaining == 30


async def test_taking_back_a_hit_that_has_left_changes_nothing(first: RedisRateLimiter) -> None:
    for seconds in (0, 30, 61):
        await first.hit("k", 3, T0 + seconds)
    await first.take_back("k", T0)
    assert (await first.hit("k", 3, T0 + 61)).remaining == 0


async def test_a_long_life_of_a_busy_key_is_decided_as_in_memory(first: RedisRateLimiter) -> None:
    memory, chance, now = MemoryRateLimiter(), random.Random(5), T0
    for i in range(4000):
        now += chance.choice([0, 0.125, 0.125, 0.25, 1, 0 if i % 500 else 45])
        limit, cost = chance.choice([250, 250, 250, 30]), chance.choice([1, 1, 2])
        decision = await first.hit("k", limit, now, cost)
        assert decision == await memory.hit("k", limit, now, cost), i
        if decision.allowed and i % 10 == 0:
            await first.take_back("k", now, cost)
            await memory.take_back("k", now, cost)


async def test_what_redis_refused_is_not_held_against_the_caller_here(
    first: RedisRateLimiter, second: RedisRateLimiter
) -> None:
    await hits(second, 60, 60, T0)
    assert not any(d.allowed for d in await hits(first, 100, 60, T0 + 30))
    assert all(d.allowed for d in await hits(first, 60, 60, T0 + 60))


async def test_a_caller_who_leaves_is_counted_once_everywhere_or_nowhere(
    first: RedisRateLimiter, second: RedisRateLimiter
) -> None:
    await hits(second, 30, 60, T0)
    tasks = [asyncio.create_task(first.hit("k", 60, T0)) for _ in range(60)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert not (await second.hit("k", 60, T0)).allowed
    assert [d.allowed for d in await hits(first, 61, 60, T0 + 60)] == [True] * 60 + [False]


async def test_keys_are_told_apart_whatever_is_in_them(first: RedisRateLimiter) -> None:
    keys: list[Key] = ["", "a b", "a\r\nb", "ä{x}", b"\x00\xff", b"\xc3", b" "]
    for key in keys:
        assert (await first.hit(key, 60, T0)).remaining == 59
    for key in keys:
        assert (await first.hit(key, 60, T0)).remaining == 58


async def test_a_full_map_of_this_process_refuses_nobody_while_redis_answers(redis: Redis) -> None:
    limiter = RedisRateLimiter(redis, "limit:", 10)
    for i in range(100):
        decisions = [await limiter.hit(f"a{i}", 3, T0 + i * 0.01) for _ in range(4)]
        assert [d.allowed for d in decisions] == [True, True, True, False], i
    assert limiter.tracked_keys == 10


async def test_hits_take_eight_bytes_each(first: RedisRateLimiter, redis: Redis) -> None:
    for i in range(100):
        await hits(first, 50, 1000, T0 + i * 3.0)  # 1000 inside at any time
    assert await redis.call("STRLEN", "limit:k") <= 8 * (1000 + 64)


class TestExpiry:
    async def test_every_key_goes_soon_after_its_newest_hit(
        self, first: RedisRateLimiter, redis: Redis
    ) -> None:
        for i in range(20):
            await first.hit(f"k{i}", 60, T0, cost=1 + i)
            await first.hit(f"k{i}", 60, T0 + 61, cost=2)
            await first.take_back(f"k{i}", T0 + 61, cost=i % 3)
        ttls_ms = await list_ttls_ms(redis)
        assert len(ttls_ms) == 14  # of six all was taken back
        assert all(0 < ttl_ms <= 120_000 for ttl_ms in ttls_ms)

    async def test_every_hit_lengthens_the_life_of_its_key(
        self, first: RedisRateLimiter, redis: Redis
    ) -> None:
        for i in range(150):  # also where old hits are cut away
            await redis.call("PEXPIRE", "limit:k", "20000")
            await first.hit("k", 100, T0 + i)
            assert await redis.call("PTTL", "limit:k") > 30_000

    async def test_a_key_without_expiry_locks_nobody_out(self, first: RedisRateLimiter, redis: Redis) -> None:
        await hits(first, 60, 60, T0)
        assert await redis.call("PERSIST", "limit:k") == 1
        assert (await first.hit("k", 60, T0 + 61)).allowed
        assert 0 < await redis.call("PTTL", "limit:k") <= 120_000

    async def test_a_refusal_too_repairs_a_missing_expiry(
        self, first: RedisRateLimiter, redis: Redis
    ) -> None:
        await hits(first, 60, 60, T0)
        await redis.call("PERSIST", "limit:k")
        assert not (await first.hit("k", 60, T0 + 1)).allowed
        assert 0 < await redis.call("PTTL", "limit:k") <= 120_000
        await redis.call("PERSIST", "limit:k")
        await first.take_back("k", T0)
        assert 30_000 < await redis.call("PTTL", "limit:k") <= 120_000

    async def test_a_gateway_killed_in_a_burst_leaves_no_key_behind_for_ever(
        self, redis_url: str, redis: Redis
    ) -> None:
        burst = (
            "import asyncio\n"
            "from shared.limits.redis import RedisRateLimiter\n"
            "from shared.redis import open_redis\n"
            "async def main():\n"
            f"    limiter = RedisRateLimiter(await open_redis({redis_url!r}), 'limit:', 1000)\n"
            "    for i in range(10**9):\n"
            "        keys = [f'k{i % 7}{j}' for j in range(9)]\n"
            f"        await asyncio.gather(*(limiter.hit(key, 60, {T0} + i) for key in keys))\n"
            "        print(i, flush=True)\n"
            "asyncio.run(main())\n"
        )
        process = await create_subprocess_exec(sys.executable, "-c", burst, stdout=PIPE)
        assert process.stdout is not None
        for _ in range(20):
            assert await process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        await process.communicate()
        ttls_ms = await list_ttls_ms(redis)
        assert len(ttls_ms) == 63
        assert all(0 < ttl_ms <= 120_000 for ttl_ms in ttls_ms)


class TestClocks:
    async def test_a_gateway_a_little_behind_counts_in_order(
        self, first: RedisRateLimiter, second: RedisRateLimiter
    ) -> None:
        for i in range(60):
            assert (await (second, first)[i % 2].hit("k", 60, T0 - 0.4 * (1 - i % 2))).allowed
        # The very first hit was counted at T0 - 0.4, all others at T0.
        assert [d.allowed for d in await hits(second, 2, 60, T0 + 59.7)] == [True, False]
        assert [d.allowed for d in await hits(first, 60, 60, T0 + 60)] == [True] * 59 + [False]

    async def test_a_gateway_far_behind_neither_locks_out_nor_gives_twice(
        self, first: RedisRateLimiter, second: RedisRateLimiter, redis: Redis
    ) -> None:
        await hits(first, 60, 60, T0)
        refused = await second.hit("k", 60, T0 - 3600)
        assert not refused.allowed
        assert refused.retry_after_s in range(30, 61)  # the key's age counts, by the clock of Redis
        assert refused.reset_at - (T0 - 3600) in range(30, 62)
        # Its hits are a minute old by the clock of Redis:
        await redis.call("PEXPIRE", "limit:k", "900")
        assert (await second.hit("k", 60, T0 - 3600)).remaining == 59
        assert (await second.hit("k", 60, T0 - 3600)).remaining == 58
        await asyncio.sleep(0.005)
        await second.take_back("k", T0 - 3600)
        assert (await second.hit("k", 60, T0 - 3600)).remaining == 58

    async def test_a_gateway_far_ahead_gives_one_more_allowance_at_most(
        self, first: RedisRateLimiter, second: RedisRateLimiter
    ) -> None:
        passed = 0
        for i in range(30):  # three seconds
            passed += sum(d.allowed for d in await hits(first, 10, 60, T0 + i * 0.1))
            passed += sum(d.allowed for d in await hits(second, 10, 60, T0 + 300 + i * 0.1))
        assert 60 <= passed <= 120
