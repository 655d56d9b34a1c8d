"""The window against a naive oracle, for random hit times, limits and costs."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.limits.memory import SlidingWindow
from shared.limits.port import WINDOW_S

T0 = 1_800_000_000.0
steps = st.lists(
    st.tuples(
        # Gaps in eighths of a second are exact in binary, so the window's edges are met to the instant.
        st.one_of(st.integers(0, 8 * 70), st.sampled_from([0, 0, 0, 1, 8 * 59, 8 * 60, 8 * 60 + 1])),
        st.sampled_from("abc"),
        st.sampled_from([0, 1, 2, 3, 5]),
        st.sampled_from([1, 1, 1, 2, 4]),
    ),
    max_size=120,
)


@dataclass
class Oracle:
    counted: dict[str, list[float]] = field(default_factory=dict)

    def hit(self, key: str, limit: int, now: float, cost: int) -> tuple[bool, int]:
        inside = [t for t in self.counted.get(key, []) if t > now - WINDOW_S]
        allowed = len(inside) + cost <= limit
        inside += [now] * cost if allowed else []
        self.counted[key] = inside
        return allowed, max(0, limit - len(inside))


@settings(max_examples=400, deadline=None)
@given(steps)
def test_every_decision_is_the_oracles(script: list[tuple[int, str, int, int]]) -> None:
    window, oracle, now = SlidingWindow(), Oracle(), T0
    for gap, key, limit, cost in script:
        now += gap / 8
        decision = window.hit(key, limit, now, cost)
        assert (decision.allowed, decision.remaining) == oracle.hit(key, limit, now, cost)
        assert decision.reset_at >= now
        assert (decision.retry_after_s is None) == decision.allowed
        if decision.retry_after_s is not None:
            inside = oracle.counted[key]
            after = [t for t in inside if t > now + decision.retry_after_s - WINDOW_S]
            before = [t for t in inside if t > now + decision.retry_after_s - 1 - WINDOW_S]
            assert len(after) + cost <= max(limit, cost)
            # Not a second longer than needed, but at least one; a request too heavy ever to pass aside.
            assert decision.retry_after_s == 1 or cost > limit or len(before) + cost > limit


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0, 30, allow_nan=False, allow_subnormal=False), min_size=1, max_size=300),
    st.integers(1, 20),
)
def test_no_minute_ever_holds_more_than_the_limit(gaps: list[float], limit: int) -> None:
    window, now, passed = SlidingWindow(), T0, []
    for gap in gaps:
        now += gap
        if window.hit("k", limit, now).allowed:
            passed.append(now)
    for start in passed:
        assert sum(start <= t < start + WINDOW_S for t in passed) <= limit


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 30)), max_size=200))
def test_a_small_map_never_lets_anybody_exceed_the_limit(script: list[tuple[int, int]]) -> None:
    window, oracle, now = SlidingWindow(max_keys=4), Oracle(), T0
    for gap, name in script:
        now += gap / 8
        key = f"k{name}"
        if window.hit(key, 2, now).allowed:
            assert oracle.hit(key, 2, now, 1)[0]
        assert window.tracked_keys <= 4
