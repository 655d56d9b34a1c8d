"""What a rate limiter answers, whatever keeps its counts.

The rule (wire contract, "Everywhere"): never more than the limit in any 60 s. A hit counts for the half-open
minute `[hit, hit + 60 s)`; refused hits are not counted.
"""

from typing import Final, NamedTuple, Protocol

WINDOW_S: Final = 60
"""The length of the sliding window, in seconds: every limit is a number of requests in this time."""


Key = str | bytes
"""Whose window it is. The caller keeps kinds of key apart by a prefix."""


class Decision(NamedTuple):
    """Whether one request may pass, and the figures for its `X-RateLimit-*` and `Retry-After` headers.

    Attributes:
        allowed: the request was counted and may pass.
        limit: the limit it was held against.
        remaining: how many more hits would pass at this instant; never negative.
        reset_at: epoch second, rounded up, at which the window is full again if nothing more arrives.
        retry_after_s: whole seconds, rounded up and at least 1, after which the same request passes if nobody
            else uses the window; None when allowed.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_at: int
    retry_after_s: int | None


class RateLimiter(Protocol):
    """Counts hits per key and refuses those beyond the limit, in one atomic step per decision."""

    async def hit(self, key: Key, limit: int, now: float, cost: int = 1) -> Decision:
        """Count `cost` hits on `key` if they all fit, none of them otherwise.

        Args:
            key: whose window it is.
            limit: hits that pass in any 60 s. It may differ from call to call: the newest one rules.
            now: the present instant, in epoch seconds.
            cost: how many hits this request is worth, at least 1.
        """
        ...

    async def take_back(self, key: Key, at: float, cost: int = 1) -> None:
        """Uncount what `hit` counted at `at`, for a request that turned out to be free of charge."""
        ...
