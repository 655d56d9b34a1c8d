"""The shared window decides as the one in memory does, and several gateways never exceed a limit."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.limits.memory import MemoryRateLimiter
from shared.limits.port import WINDOW_S
from shared.limits.redis import RedisRateLimiter
from shared.redis import Redis, open_redis

pytestmark = pytest.mark.redis

T0 = 1_800_000_000.0

UNHURRIED = settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# In eighths of a second, which are exact in binary, so that the window's edges are met to the instant.
# Negative is how far behind the latest instant: callers out of order.
gaps = st.one_of(st.integers(-7, 8 * 70), st.sampled_from([0, 0, 0, 1, -1, 8 * 59, 8 * 60, 8 * 60 + 1]))
numbers = count()


class Stage:
    """A loop with two clients of one Redis, for tests that Hypothesis calls many times."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self.run = self._runner.run
        self._clients = [self.run(open_redis(url, time_limit=timedelta(seconds=10))) for _ in range(2)]

    def build(self, max_local_keys: int = 100) -> list[RedisRateLimiter]:
        """Two gateways with a fresh window."""
        prefix = f"limit:{next(numbers)}:"
        return [RedisRateLimiter(client, prefix, max_local_keys) for client in self._clients]

    @property
    def redis(self) -> Redis:
        return self._clients[0]

    def close(self) -> None:
        for client in self._clients:
            self.run(client.close())
        self._runner.close()


@pytest.fixture
def stage(redis_url: str) -> Iterator[Stage]:
    stage = Stage(redis_url)
    yield stage
    stage.close()


@UNHURRIED
@given(
    script=st.lists(
        st.tuples(
            gaps,
            st.sampled_from(["hit", "hit", "hit", "take back"]),
            st.sampled_from("abc"),
            st.sampled_from([0, 1, 2, 3, 5, 200]),
            st.sampled_from([1, 1, 1, 2, 4, 70]),
        ),
        max_size=120,
    )
)
def test_every_decision_is_that_of_the_window_in_memory(
    stage: Stage, script: list[tuple[int, str, str, int, int]]
) -> None:
    async def compare() -> None:
        memory, (shared, _) = MemoryRateLimiter(), stage.build()
        latest, counted = T0, {"a": T0, "b": T0, "c": T0}
        for gap, what, key, limit, cost in script:
            if what == "hit":
                now = latest + gap / 8
                latest = max(latest, now)
                decision = await memory.hit(key, limit, now, cost)
                assert await shared.hit(key, limit, now, cost) == decision
                counted[key] = now if decision.allowed else counted[key]
            else:
                await memory.take_back(key, counted[key], cost)
                await shared.take_back(key, counted[key], cost)
        for each in "abc":
            assert await shared.hit(each, 1000, latest) == await memory.hit(each, 1000, latest)
            assert 0 < await stage.redis.call("PTTL", shared._prefix + each.encode()) <= 2000 * WINDOW_S
        assert shared.fallbacks == 0

    stage.run(compare())


@UNHURRIED
@given(
    script=st.lists(
        st.tuples(st.integers(0, 8 * 40), st.integers(0, 1), st.integers(1, 12), st.sampled_from([1, 1, 3])),
        max_size=60,
    ),
    limit=st.integers(1, 20),
    skew=st.sampled_from([0, 0, 4, 8 * 5]),
)
def test_no_minute_of_two_gateways_holds_more_than_the_limit(
    stage: Stage, script: list[tuple[int, int, int, int]], limit: int, skew: int
) -> None:
    async def watch() -> None:
        gateways = stage.build(max_local_keys=1)
        true_now, passed = T0, []
        for gap, who, burst, cost in script:
            true_now += gap / 8
            now = true_now + who * skew / 8
            key = f"other{gap}" if burst == 12 else "k"
            decisions = await asyncio.gather(
                *(gateways[who].hit(key, limit, now, cost) for _ in range(burst))
            )
            passed += [true_now] * sum(cost for d in decisions if d.allowed and key == "k")
        window_s = WINDOW_S - skew / 8
        for start in passed:
            assert sum(start <= t < start + window_s for t in passed) <= limit

    stage.run(watch())
