"""Firsts: of several callers with a value for the same key, all of them get the value of the first."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from shared.coalescer import Coalescer
from shared.redis.client import Redis, Script, keep_ms
from shared.redis.connections import Argument

_MAX_VALUES: Final = 100
"""Values may be large, and one round trip must fit in the time limit."""
_SETTLE: Final = Script(
    """
    local standing = {}
    for i, key in ipairs(KEYS) do
      standing[i] = redis.call('GET', key)
      if not standing[i] then
        redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1])
      end
    end
    return standing
    """
)


class Firsts:
    """The first value settled for a key stands, kept for `keep` after it was settled.

    It is a shortcut, never the authority: whoever loses Redis, or comes after `keep`, may settle another one.

    Args:
        redis: where they are kept.
        prefix: of all keys in Redis; no other user of the server may have one that begins with it.
        keep: at least a millisecond.
    """

    def __init__(self, redis: Redis, prefix: str, keep: timedelta) -> None:
        self._redis = redis
        self._prefix = prefix.encode()
        self._keep_ms = keep_ms(keep)
        self._settles: Coalescer[tuple[bytes, bytes], bytes] = Coalescer(self._settle, max_items=_MAX_VALUES)
        self._finds: Coalescer[bytes, bytes | None] = Coalescer(self._find, max_items=_MAX_VALUES)

    async def settle(self, key: bytes, value: bytes) -> bytes:
        """The value that stands for the key: this one if it is the first, an earlier one otherwise.

        Raises:
            UnavailableError: Redis is away; the value may stand all the same.
        """
        return await self._settles.submit((self._prefix + key, value))

    async def find(self, key: bytes) -> bytes | None:
        """The value that stands, or None: never settled, expired, or lost.

        Raises:
            UnavailableError: Redis is away.
        """
        return await self._finds.submit(self._prefix + key)

    async def _settle(self, firsts: Sequence[tuple[bytes, bytes]]) -> Sequence[bytes]:
        arguments: list[Argument] = [self._keep_ms, *(value for _, value in firsts)]
        earlier = await self._redis.run(_SETTLE, [key for key, _ in firsts], arguments)
        return [
            value if standing is None else standing
            for (_, value), standing in zip(firsts, earlier, strict=True)
        ]

    async def _find(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        found: list[bytes | None] = await self._redis.call("MGET", *keys)
        return found
