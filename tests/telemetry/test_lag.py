"""How far a group is behind, also while one side of it cannot be asked."""

from collections.abc import Callable, Collection
from typing import Any, cast

import pytest

from shared.errors import UnavailableError
from shared.event_log.lag import Lag
from shared.limits.redis import RedisRateLimiter
from shared.redis import Redis
from shared.telemetry.metrics import REGISTRY


class Both:
    """An event log and the positions of a group."""

    def __init__(self) -> None:
        self.ends_at: dict[int, int] = {0: 100, 1: 7, 2: 0}
        self.applied: dict[int, int] = {0: 90}
        self.log_fault: Exception | None = None
        self.positions_fault: Exception | None = None

    async def ends(self, topic: str) -> dict[int, int]:
        if self.log_fault is not None:
            raise self.log_fault
        return dict(self.ends_at)

    async def load(self, group: str, topic: str, partitions: Collection[int]) -> dict[int, int]:
        if self.positions_fault is not None:
            raise self.positions_fault
        return {partition: self.applied[partition] for partition in partitions if partition in self.applied}


@pytest.fixture
def both() -> Both:
    return Both()


Look = Callable[[], list[float]]


def lag_of(both: Both, name: str) -> tuple[Lag, Look]:
    def look() -> list[float]:
        labels = ({"group": name, "topic": "t", "partition": str(number)} for number in both.ends_at)
        values = [REGISTRY.get_sample_value("llmring_consumer_lag_records", each) for each in labels]
        return [-1 if value is None else value for value in values]

    return Lag(cast("Any", both), name, "t", cast("Any", both)), look


async def test_it_is_the_end_less_the_stored_position(both: Both) -> None:
    lag, look = lag_of(both, "plain")
    await lag.measure()
    assert look() == [10, 7, 0]
    both.applied = {0: 100, 1: 7}
    await lag.measure()
    assert look() == [0, 0, 0]


async def test_a_position_read_after_the_end_moved_is_no_negative_lag(both: Both) -> None:
    lag, look = lag_of(both, "ahead")
    both.applied = {0: 101}
    await lag.measure()
    assert look()[0] == 0


async def test_without_the_database_the_lag_grows_with_the_topic(both: Both) -> None:
    lag, look = lag_of(both, "blind")
    await lag.measure()
    both.positions_fault = UnavailableError("away")
    both.ends_at[0] = 150
    await lag.measure()
    assert look() == [60, 7, 0]


async def test_without_the_log_it_stays_until_positions_move(both: Both) -> None:
    lag, look = lag_of(both, "deaf")
    await lag.measure()
    both.log_fault = UnavailableError("away")
    await lag.measure()
    assert look() == [10, 7, 0]
    both.applied[0] = 95
    await lag.measure()
    assert look() == [5, 7, 0]


async def test_an_error_that_nobody_foresaw_ends_nothing(both: Both) -> None:
    lag, look = lag_of(both, "odd")
    both.positions_fault = RuntimeError("odd")
    await lag.measure()
    both.positions_fault = None
    await lag.measure()
    assert look() == [10, 7, 0]


async def test_limits_say_when_they_are_counted_without_redis() -> None:
    class Away:
        is_away = False

    redis = Away()
    RedisRateLimiter(cast("Redis", redis), "prefix:")
    seen = []
    for redis.is_away in (False, True, False):
        seen.append(REGISTRY.get_sample_value("llmring_rate_limit_degraded"))
    assert seen == [0, 1, 0]
