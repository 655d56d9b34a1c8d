"""The exact sliding window: cases P1, P2, P5, P7, P8 as far as one process decides them."""

import asyncio
from math import ceil

import pytest

from shared.limits.memory import MemoryRateLimiter, SlidingWindow
from shared.limits.port import Decision, RateLimiter

T0 = 1_800_000_000.0


def hits(window: SlidingWindow, n: int, limit: int, now: float, key: str = "k") -> list[Decision]:
    return [window.hit(key, limit, now) for _ in range(n)]


@pytest.mark.parametrize("limit", [1, 60, 300, 1000, 5000])
def test_no_second_allowance_at_the_minutes_edge(limit: int) -> None:
    window = SlidingWindow()
    assert all(d.allowed for d in hits(window, limit, limit, T0 - 0.5))
    refused = hits(window, 60, limit, T0 + 0.2)
    assert {d.allowed for d in refused} == {False}
    assert {(d.remaining, d.retry_after_s, d.reset_at) for d in refused} == {(0, 60, 1_800_000_060)}
    late = window.hit("k", limit, T0 + 59.4)
    assert (late.allowed, late.retry_after_s) == (False, 1)
    assert window.hit("k", limit, T0 + 59.6) == Decision(True, limit, limit - 1, 1_800_000_120, None)


def test_the_figures_of_a_whole_window() -> None:
    window = SlidingWindow()
    decisions = hits(window, 60, 60, T0)
    assert decisions[0] == Decision(True, 60, 59, 1_800_000_060, None)
    assert [d.remaining for d in decisions] == list(range(59, -1, -1))
    assert window.hit("k", 60, T0) == Decision(False, 60, 0, 1_800_000_060, 60)
    assert window.hit("k", 60, T0 + 59.4) == Decision(False, 60, 0, 1_800_000_060, 1)


def test_a_client_that_sleeps_as_told_is_admitted() -> None:
    window, now = SlidingWindow(), T0
    for i in range(300):
        decision = window.hit("k", 60, now)
        now += 0.037 if decision.retry_after_s is None else decision.retry_after_s
        if not decision.allowed:
            assert window.hit("k", 60, now).allowed, i


def test_refusals_are_not_counted() -> None:
    window = SlidingWindow()
    hits(window, 60, 60, T0)
    hits(window, 1000, 60, T0 + 30)
    assert window.hit("k", 60, T0 + 60).allowed


def test_a_lowered_limit_leaves_none_and_says_when_one_passes() -> None:
    window = SlidingWindow()
    for i in range(200):
        window.hit("k", 1000, T0 + i * 0.1)
    refused = window.hit("k", 60, T0 + 20)
    assert (refused.allowed, refused.limit, refused.remaining) == (False, 60, 0)
    assert refused.retry_after_s == ceil(14.0 + 60 - 20)  # when hit 141 leaves, 59 are left
    assert window.hit("k", 60, T0 + 20 + refused.retry_after_s).allowed


def test_a_raised_limit_takes_effect_at_once() -> None:
    window = SlidingWindow()
    hits(window, 61, 60, T0)
    assert window.hit("k", 300, T0) == Decision(True, 300, 239, 1_800_000_060, None)


def test_a_limit_of_none_at_all_is_refused_and_not_remembered() -> None:
    window = SlidingWindow()
    assert window.hit("k", 0, T0) == Decision(False, 0, 0, 1_800_000_060, 60)
    assert window.tracked_keys == 0
    hits(window, 1, 60, T0)
    assert window.hit("k", 0, T0 + 60).retry_after_s == 60
    assert window.tracked_keys == 0


def test_a_heavy_request_is_counted_whole_or_not_at_all() -> None:
    window = SlidingWindow()
    assert window.hit("k", 60, T0, cost=50).remaining == 10
    refused = window.hit("k", 60, T0 + 1, cost=11)
    assert (refused.allowed, refused.remaining, refused.retry_after_s) == (False, 10, 59)
    assert window.hit("k", 60, T0 + 1, cost=10) == Decision(True, 60, 0, 1_800_000_061, None)
    assert window.hit("k", 60, T0 + 60, cost=51).allowed is False
    assert window.hit("k", 60, T0 + 60, cost=50).allowed
    assert not window.hit("other", 60, T0, cost=61).allowed


def test_what_is_taken_back_was_never_counted() -> None:
    window = SlidingWindow()
    hits(window, 30, 60, T0)
    hits(window, 30, 60, T0 + 1)
    window.take_back("k", T0 + 1)
    assert window.hit("k", 60, T0 + 2).allowed
    assert not window.hit("k", 60, T0 + 2).allowed
    window.take_back("k", T0 + 2, cost=1)
    window.take_back("unknown", T0)
    assert window.hit("k", 60, T0 + 60).remaining == 30


def test_taking_back_a_hit_that_has_left_changes_nothing() -> None:
    window = SlidingWindow()
    hits(window, 1, 3, T0)
    hits(window, 1, 3, T0 + 30)
    hits(window, 1, 3, T0 + 61)
    window.take_back("k", T0)
    assert window.hit("k", 3, T0 + 61).remaining == 0


def test_a_heavy_request_is_taken_back_whole() -> None:
    window = SlidingWindow()
    window.hit("k", 60, T0, cost=20)
    window.hit("k", 60, T0 + 1, cost=30)
    window.take_back("k", T0 + 1, cost=30)
    assert window.hit("k", 60, T0 + 2).remaining == 39


def test_a_key_that_became_idle_by_a_taken_back_hit_makes_room() -> None:
    window = SlidingWindow(max_keys=1)
    hits(window, 1, 60, T0)
    hits(window, 1, 60, T0 + 30)
    assert window.hit("stranger", 60, T0 + 31).retry_after_s == 59
    window.take_back("k", T0 + 30)
    assert window.hit("stranger", 60, T0 + 60).allowed


def test_nobody_is_told_to_come_back_in_no_time() -> None:
    window = SlidingWindow()
    window.hit("k", 1, 1e-20)  # 60 s later it is still inside, by less than a float can tell
    assert window.hit("k", 1, 60.0).retry_after_s == 1


def test_a_key_whose_only_hit_is_taken_back_is_forgotten() -> None:
    window = SlidingWindow()
    window.hit("k", 60, T0)
    window.take_back("k", T0)
    assert window.tracked_keys == 0
    assert window.hit("k", 60, T0).remaining == 59


def test_a_full_map_refuses_strangers_and_keeps_the_busy() -> None:
    window = SlidingWindow(max_keys=100)
    for i in range(100):
        hits(window, 2, 3, T0 + i * 0.1, key=f"a{i}")
    stranger = window.hit("stranger", 3, T0 + 10)
    assert (stranger.allowed, stranger.remaining, stranger.retry_after_s) == (False, 0, 50)
    assert window.hit("a0", 3, T0 + 10).remaining == 0  # counted on, not forgotten
    assert window.tracked_keys == 100
    assert stranger.retry_after_s is not None
    assert not window.hit("stranger", 3, T0 + 10 + 49).allowed
    assert window.hit("stranger", 3, T0 + 60.1).allowed  # a1 is idle since then, a0 is not
    assert window.tracked_keys == 100


def test_a_flood_of_addresses_keeps_the_map_bounded_and_idle_ones_go() -> None:
    window = SlidingWindow(max_keys=1000)
    admitted = sum(window.hit(f"a{i}", 60, T0 + i * 0.001).allowed for i in range(5000))
    assert (admitted, window.tracked_keys) == (1000, 1000)
    for i in range(100):
        assert window.hit(f"b{i}", 60, T0 + 100).allowed
    assert window.tracked_keys == 100


def test_memory_of_a_busy_key_stays_near_its_limit() -> None:
    window = SlidingWindow()
    for i in range(50_000):
        window.hit("k", 5000, T0 + i * 0.012)
    (only,) = window._windows.values()
    assert len(only.hits) <= 2 * 5000 + 64


def test_callers_that_arrive_out_of_order_are_counted_in_order() -> None:
    window = SlidingWindow()
    for i in range(60):
        assert window.hit("k", 60, T0 - 0.9 * (i % 2)).allowed
    assert not window.hit("k", 60, T0 + 59.9).allowed
    assert window.hit("k", 60, T0 + 60).allowed


def test_a_clock_that_is_set_back_neither_locks_out_nor_gives_twice() -> None:
    window = SlidingWindow()
    hits(window, 60, 60, T0)
    refused = window.hit("k", 60, T0 - 3600)
    assert (refused.allowed, refused.retry_after_s, refused.reset_at) == (False, 60, T0 - 3600 + 60)
    assert not window.hit("k", 60, T0 - 3600 + 59).allowed
    assert window.hit("k", 60, T0 - 3600 + 60).allowed
    window.take_back("k", T0 - 3600 + 60)
    assert window.hit("k", 60, T0 - 3600 + 60).remaining == 59


async def test_simultaneous_hits_pass_exactly_the_limit() -> None:
    limiter: RateLimiter = MemoryRateLimiter()
    decisions = await asyncio.gather(*(limiter.hit(b"key-id", 60, T0) for _ in range(200)))
    assert sorted((d.remaining for d in decisions if d.allowed), reverse=True) == list(range(59, -1, -1))
    assert sum(not d.allowed for d in decisions) == 140
    await limiter.take_back(b"key-id", T0)
    assert (await limiter.hit(b"key-id", 60, T0)).allowed


def test_a_map_for_nobody_is_an_error() -> None:
    with pytest.raises(ValueError, match="max_keys"):
        SlidingWindow(max_keys=0)
