"""Where requests are counted: in Redis for all gateways together, or in the memory of this one."""

from shared.limits.memory import MemoryRateLimiter
from shared.limits.port import RateLimiter
from shared.limits.redis import RedisRateLimiter
from shared.redis import Redis


def build_limiter(redis: Redis | None, what: str, max_keys: int) -> RateLimiter:
    """A limiter of one kind of key.

    Args:
        redis: counts for all gateways; None counts for this process alone.
        what: kind of key, so that kinds do not mix in Redis.
        max_keys: how many keys this process tracks at once, also as the fallback while Redis is away.
    """
    if redis is None:
        return MemoryRateLimiter(max_keys)
    return RedisRateLimiter(redis, f"llmring:limit:{what}:", max_keys)
