"""An exact sliding window that all processes share, and what holds while it is out of reach.

Each hit is counted twice: in this process's own window, at once, and then in Redis, for all processes. It
passes when both have room. While Redis answers, what this process counted is a part of what Redis counted, so
that Redis decides. While it does not, this process goes on alone from where it stands; and when Redis comes
back without its memory, what this process knows still holds.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from shared.coalescer import Coalescer
from shared.errors import UnavailableError
from shared.limits.memory import DEFAULT_MAX_KEYS
from shared.limits.port import WINDOW_S, Decision, Key
from shared.limits.warm import WarmWindow
from shared.redis import Redis, Script
from shared.telemetry.metrics import RATE_LIMIT_DEGRADED

_SCRIPT: Final = Script(Path(__file__).with_name("sliding_window.lua").read_text(encoding="utf-8"))
_STEP: Final = Struct(">ddqqq")
_ANSWER: Final = Struct(">qqqq")
_COUNT, _PEEK, _TAKE_BACK = 0, 1, 2

_TTL_MS: Final = (WINDOW_S + 1) * 1000
"""A key goes this long after its newest hit, which has left the window by then, whatever clocks say."""
_MAX_STEPS: Final = 250
"""In one round trip: about a millisecond of Redis, during which it does nothing else."""


class _Step(NamedTuple):
    """One thing to be done in Redis.

    Attributes:
        key: as the caller names it.
        record: the step, packed for the script.
        limit: to be told in the decision.
        at: when it was counted in this process's own window, if it was.
        cost: how often it was counted there; 0 when it was not.
    """

    key: Key
    record: bytes
    limit: int
    at: float
    cost: int


class RedisRateLimiter:
    """The `RateLimiter` of many processes; see there for what a decision says.

    Instants are the callers', not those of Redis: so a window goes on without a seam when Redis is lost, and
    all figures of an answer are by one clock. Clocks that differ by d seconds let the limit through in any
    60 - d seconds at worst. A clock that is far behind or was set back locks nobody out: see
    `sliding_window.lua`.

    Args:
        redis: where the shared window is. Several limiters may share it.
        prefix: of all keys in Redis; no other user of the server may have one that begins with it.
        max_local_keys: how many keys are tracked in this process. While Redis is away a key that is not among
            them is refused when all are busy; while it answers, that one is counted in Redis alone.

    Attributes:
        fallbacks: how many hits this process has decided alone, for want of Redis.
    """

    def __init__(self, redis: Redis, prefix: str, max_local_keys: int = DEFAULT_MAX_KEYS) -> None:
        self._redis = redis
        self._prefix = prefix.encode()
        self._warm = WarmWindow(max_local_keys)
        self._steps: Coalescer[_Step, Decision] = Coalescer(self._take_steps, max_items=_MAX_STEPS)
        self.fallbacks = 0
        RATE_LIMIT_DEGRADED.set_function(lambda: float(self.degraded))  # asked when it is read

    @property
    def degraded(self) -> bool:
        """This process decides alone at present: n of them let up to n times the limit through."""
        return self._redis.is_away

    @property
    def tracked_keys(self) -> int:
        """How many keys hold memory in this process at present."""
        return self._warm.tracked_keys

    async def hit(self, key: Key, limit: int, now: float, cost: int = 1) -> Decision:
        """Count `cost` hits on `key`; see `RateLimiter.hit`. It waits for Redis, briefly, and never fails."""
        own = self._warm.hit(key, limit, now, cost)
        decision = await self._decide(own, key, cost)
        if decision is None:
            # Redis has room and this process has none. Either Redis has lost its memory, or what filled the
            # window here has been refused there just now and was taken back.
            own = self._warm.hit(key, limit, now, cost)
            decision = await self._decide(own, key, cost) if own.allowed else own
        return decision or own

    async def take_back(self, key: Key, at: float, cost: int = 1) -> None:
        """Uncount hits; see `RateLimiter.take_back`. Where Redis is away, they expire there by themselves."""
        self._warm.take_back(key, at, cost)
        if self._redis.is_away:
            return
        record = _STEP.pack(self._warm.decided_at, at, 0, cost, _TAKE_BACK)
        with suppress(UnavailableError):
            await self._steps.submit(_Step(key, record, 0, at, 0))

    async def _decide(self, own: Decision, key: Key, cost: int) -> Decision | None:
        """What Redis says, or this process where Redis says nothing. None: only this process has no room."""
        if self._redis.is_away:
            self.fallbacks += 1
            return own
        # Where this process has no room, Redis is asked for its figures alone. A full map is no such reason.
        is_full = not own.allowed and self._warm.tracks(key)
        at = self._warm.decided_at
        record = _STEP.pack(at, at, own.limit, cost, _PEEK if is_full else _COUNT)
        try:
            shared = await self._steps.submit(_Step(key, record, own.limit, at, cost if own.allowed else 0))
        except UnavailableError:
            self.fallbacks += 1
            return own
        return None if is_full and shared.allowed else shared

    async def _take_steps(self, steps: Sequence[_Step]) -> Sequence[Decision]:
        # Not in `hit`: its caller may have gone meanwhile, and what Redis refuses is taken back all the same.
        keys = [
            self._prefix + (step.key.encode() if isinstance(step.key, str) else step.key) for step in steps
        ]
        packed = await self._redis.run(_SCRIPT, keys, (_TTL_MS, b"".join(step.record for step in steps)))
        decisions = []
        for step, answer in zip(steps, _ANSWER.iter_unpack(packed), strict=True):
            allowed, remaining, reset_at, retry_after_s = answer
            if step.cost and not allowed:
                self._warm.take_back(step.key, step.at, step.cost)
            decisions.append(Decision(bool(allowed), step.limit, remaining, reset_at, retry_after_s or None))
        return decisions
