"""Marks: how far something has come, per key, as a position in a log."""

from collections.abc import Sequence
from datetime import timedelta
from struct import Struct
from typing import Final

from shared.coalescer import Coalescer
from shared.redis.client import Redis, Script, keep_ms
from shared.redis.connections import Argument

_POSITION: Final = Struct(">IQ")
_RAISE: Final = Script(
    # Halves of an offset are compared one by one: a number of Lua holds no more than 53 bits of it.
    """
    for i, key in ipairs(KEYS) do
      local new = ARGV[i + 1]
      local old = redis.call('GET', key)
      local is_ahead = false
      if old and #old == 12 then
        local old_partition, old_high, old_low = struct.unpack('>I4I4I4', old)
        local partition, high, low = struct.unpack('>I4I4I4', new)
        is_ahead = old_partition == partition
          and (old_high > high or (old_high == high and old_low >= low))
      end
      if not is_ahead then
        redis.call('SET', key, new, 'PX', ARGV[1])
      end
    end
    """
)


class Marks:
    """The highest position noted per key, kept for `keep` after it was noted.

    Within one partition the highest offset wins, in whatever order marks arrive. A mark of another partition
    replaces what was there: the key's records go there now.

    Args:
        redis: where they are kept.
        prefix: of all keys in Redis; no other user of the server may have one that begins with it.
        keep: at least a millisecond.
    """

    def __init__(self, redis: Redis, prefix: str, keep: timedelta) -> None:
        self._redis = redis
        self._prefix = prefix.encode()
        self._keep_ms = keep_ms(keep)
        self._raises: Coalescer[tuple[bytes, bytes], None] = Coalescer(self._raise)
        self._finds: Coalescer[bytes, bytes | None] = Coalescer(self._find)

    async def raise_to(self, key: bytes, position: tuple[int, int]) -> None:
        """Note a position (partition, offset) unless a higher one of the same partition is noted already.

        Raises:
            UnavailableError: Redis is away; the mark may have been noted all the same.
        """
        await self._raises.submit((self._prefix + key, _POSITION.pack(*position)))

    async def find(self, key: bytes) -> tuple[int, int] | None:
        """The position (partition, offset) that is noted, or None: never noted, expired, or lost.

        Raises:
            UnavailableError: Redis is away.
        """
        packed = await self._finds.submit(self._prefix + key)
        if packed is None or len(packed) != _POSITION.size:
            return None
        partition, offset = _POSITION.unpack(packed)
        return partition, offset

    async def _raise(self, marks: Sequence[tuple[bytes, bytes]]) -> Sequence[None]:
        arguments: list[Argument] = [self._keep_ms, *(position for _, position in marks)]
        await self._redis.run(_RAISE, [key for key, _ in marks], arguments)
        return [None] * len(marks)

    async def _find(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        found: list[bytes | None] = await self._redis.call("MGET", *keys)
        return found
