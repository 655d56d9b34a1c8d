"""An exact sliding window in this process's memory.

Each key holds the instants of its counted hits, 8 bytes each, in an array that is cut from the front as they
grow old. A decision looks at the front, appends at the end, and never walks the array. For one event loop:
no call is interrupted, so each decision is atomic; threads would need a lock.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from math import ceil

from shared.limits.port import WINDOW_S, Decision, Key

DEFAULT_MAX_KEYS = 10_000
_CUT_AT = 64
"""Old hits are cut away in pieces of at least this many, so that cutting costs nothing per hit."""
_IDLE_PER_HIT = 16
"""At most this many idle keys are dropped by one call, so that no request pays for a whole map."""
_STEP_BACK_S = 1.0
"""A clock that goes back less than this is two callers out of order; more than this, it was set."""


class _Window:
    """The counted hits of one key: those before `head` have left the window."""

    __slots__ = ("head", "hits")

    def __init__(self, hits: "array[float]") -> None:
        self.hits = hits
        self.head = 0


class SlidingWindow:
    """Never lets more than the limit through in any 60 s, per key, for a bounded number of keys.

    Args:
        max_keys: how many keys are tracked at once. When that many are busy, a key that is not among them is
            refused: a flood of new addresses can neither fill the memory nor push out a counted one.
    """

    def __init__(self, max_keys: int = DEFAULT_MAX_KEYS) -> None:
        if max_keys < 1:
            raise ValueError("max_keys must be at least 1")
        self._max_keys = max_keys
        # In the order of the newest counted hit, so that the idle keys stand at the front.
        self._windows: OrderedDict[Key, _Window] = OrderedDict()
        self._front_idle_at = 0.0
        self._latest = 0.0
        self._set_back_s = 0.0

    @property
    def tracked_keys(self) -> int:
        """How many keys hold memory at present."""
        return len(self._windows)

    def hit(self, key: Key, limit: int, now: float, cost: int = 1) -> Decision:
        """Count `cost` hits on `key` at `now` if they all fit in the limit; see `RateLimiter.hit`."""
        now += self._set_back_s
        if now < self._latest:
            now = self._never_back(now)
        self._latest = now
        window = self._windows.get(key)
        if window is None:
            return self._hit_new(key, limit, now, cost)
        hits = window.hits
        head = window.head
        if hits[head] <= now - WINDOW_S:
            head = window.head = bisect_right(hits, now - WINDOW_S, head)
            if head >= _CUT_AT and 2 * head >= len(hits):
                del hits[:head]
                head = window.head = 0
        counted = len(hits) - head
        if counted + cost > limit:
            return self._refuse(key, window, limit, now, cost)
        if cost == 1:
            hits.append(now)
        else:
            hits.extend([now] * cost)
        self._windows.move_to_end(key)
        return Decision(True, limit, limit - counted - cost, ceil(now + WINDOW_S - self._set_back_s), None)

    def take_back(self, key: Key, at: float, cost: int = 1) -> None:
        """Uncount up to `cost` hits of `key` counted at `at`, if there are any."""
        window = self._windows.get(key)
        at += self._set_back_s
        if window is None or at <= self._latest - WINDOW_S:
            return
        hits = window.hits
        # A hit that came out of order was counted a little later than `at`, never earlier.
        start = bisect_left(hits, at, window.head)
        del hits[start : start + cost]
        self._front_idle_at = 0.0  # the front may be idle sooner now
        if window.head >= len(hits):
            del self._windows[key]

    def _hit_new(self, key: Key, limit: int, now: float, cost: int) -> Decision:
        if now >= self._front_idle_at:
            self._drop_idle(now)
        if cost > limit:
            return self._refuse_at(limit, limit, now, now + WINDOW_S, now + WINDOW_S)
        if len(self._windows) >= self._max_keys:
            front = self._windows[next(iter(self._windows))]
            room_at = front.hits[-1] + WINDOW_S
            return self._refuse_at(limit, 0, now, room_at, room_at)
        self._windows[key] = _Window(array("d", [now]) * cost)
        return Decision(True, limit, limit - cost, ceil(now + WINDOW_S - self._set_back_s), None)

    def _refuse(self, key: Key, window: _Window, limit: int, now: float, cost: int) -> Decision:
        hits = window.hits
        remaining = limit - len(hits) + window.head
        if window.head == len(hits):
            del self._windows[key]
            return self._refuse_at(limit, remaining, now, now + WINDOW_S, now + WINDOW_S)
        full_at = hits[-1] + WINDOW_S
        # The hit whose leaving makes room. After a limit was lowered that is not the oldest one.
        last_to_leave = len(hits) + cost - limit - 1
        passes_at = hits[last_to_leave] + WINDOW_S if last_to_leave < len(hits) else full_at
        return self._refuse_at(limit, remaining, now, full_at, passes_at)

    def _refuse_at(
        self, limit: int, remaining: int, now: float, full_at: float, passes_at: float
    ) -> Decision:
        retry_after_s = max(1, ceil(passes_at - now))
        return Decision(False, limit, max(0, remaining), ceil(full_at - self._set_back_s), retry_after_s)

    def _drop_idle(self, now: float) -> None:
        for _ in range(_IDLE_PER_HIT):
            front = next(iter(self._windows), None)
            if front is None:
                return
            self._front_idle_at = self._windows[front].hits[-1] + WINDOW_S
            if self._front_idle_at > now:
                return
            del self._windows[front]

    def _never_back(self, now: float) -> float:
        # Hits must stay in order. A clock that was set back goes on from where it stood, at its own pace:
        # else every busy key would be shut out until the clock has caught up.
        if self._latest - now >= _STEP_BACK_S:
            self._set_back_s += self._latest - now
        return self._latest


class MemoryRateLimiter:
    """The `RateLimiter` of one process: exact for it, and unknown to every other process."""

    def __init__(self, max_keys: int = DEFAULT_MAX_KEYS) -> None:
        self.window = SlidingWindow(max_keys)

    async def hit(self, key: Key, limit: int, now: float, cost: int = 1) -> Decision:
        """Count `cost` hits on `key`; see `RateLimiter.hit`. It never waits."""
        return self.window.hit(key, limit, now, cost)

    async def take_back(self, key: Key, at: float, cost: int = 1) -> None:
        """Uncount hits; see `RateLimiter.take_back`. It never waits."""
        self.window.take_back(key, at, cost)
