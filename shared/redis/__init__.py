"""Redis for what may be lost: a short time limit, no retries, and an error that callers can live with."""

from shared.redis.client import Redis, Script, open_redis
from shared.redis.firsts import Firsts
from shared.redis.marks import Marks
from shared.redis.tallies import Tallies

__all__ = ["Redis", "open_redis", "Script", "Marks", "Firsts", "Tallies"]
