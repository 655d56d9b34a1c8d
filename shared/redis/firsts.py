"""Firsts: of several callers with a value for the same key, all of them get the value of the first."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from shared.coalescer import Coalescer
from shared.errors import UnavailableError
from shared.redis.client import Redis, Script, keep_ms
from shared.redis.connections import Argument
from shared.redis.memory import RUN_OF_SERVER, Memory

_MAX_VALUES: Final = 100
"""Values may be large, and one round trip must fit in the time limit."""
_SILENT_AT_MOST: Final = timedelta(seconds=20)
_SETTLE_ALL: Final = """
    local standing = {}
    for i, key in ipairs(KEYS) do
      standing[i] = redis.call('GET', key)
      if not standing[i] then
        redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1])
      end
    end
    return standing
"""
_SETTLE: Final = Script(_SETTLE_ALL)
# An empty list says that the memory is broken; there is always at least one value.
_SETTLE_IF_WHOLE: Final = Script(
    RUN_OF_SERVER
    + """
    if not run or redis.call('GET', table.remove(KEYS)) ~= run then
      return {}
    end
"""
    + _SETTLE_ALL
)
_FORGET: Final = Script("""
    for i, key in ipairs(KEYS) do
      if redis.call('GET', key) == ARGV[i] then
        redis.call('DEL', key)
      end
    end
""")


class Firsts:
    """The first value settled for a key stands, kept for `keep` after it was settled.

    It is a shortcut, never the authority: whoever loses Redis, or comes after `keep`, may settle another one.
    Who has nothing but it asks `settle_if_whole`, and sees to it that `memory` is restored.

    Args:
        redis: where they are kept.
        prefix: of all keys in Redis; no other user of the server may have one that begins with it.
        keep: at least a millisecond.

    Attributes:
        memory: whether Redis still holds what was settled.
    """

    def __init__(self, redis: Redis, prefix: str, keep: timedelta) -> None:
        self._redis = redis
        self._prefix = prefix.encode()
        self._keep_ms = keep_ms(keep)
        self._settles: Coalescer[tuple[bytes, bytes], bytes] = Coalescer(self._settle, max_items=_MAX_VALUES)
        self._settles_if_whole: Coalescer[tuple[bytes, bytes], bytes] = Coalescer(
            self._settle_if_whole, max_items=_MAX_VALUES
        )
        self._forgets: Coalescer[tuple[bytes, bytes], None] = Coalescer(self._forget, max_items=_MAX_VALUES)
        self._finds: Coalescer[bytes, bytes | None] = Coalescer(self._find, max_items=_MAX_VALUES)
        self.memory = Memory(redis, self._prefix + b"memory", _SILENT_AT_MOST)

    async def settle(self, key: bytes, value: bytes) -> bytes:
        """The value that stands for the key: this one if it is the first, an earlier one otherwise.

        Raises:
            UnavailableError: Redis is away; the value may stand all the same.
        """
        return await self._settles.submit((self._prefix + key, value))

    async def settle_if_whole(self, key: bytes, value: bytes) -> bytes:
        """The same, as long as `memory` is whole.

        Raises:
            UnavailableError: Redis is away, or has lost something that was not restored yet.
        """
        return await self._settles_if_whole.submit((self._prefix + key, value))

    async def forget(self, key: bytes, value: bytes) -> None:
        """Let a value stand no more, if it is this one.

        Raises:
            UnavailableError: Redis is away; it may stand no more all the same.
        """
        await self._forgets.submit((self._prefix + key, value))

    async def find(self, key: bytes) -> bytes | None:
        """The value that stands, or None: never settled, expired, or lost.

        Raises:
            UnavailableError: Redis is away.
        """
        return await self._finds.submit(self._prefix + key)

    async def _settle(self, firsts: Sequence[tuple[bytes, bytes]]) -> Sequence[bytes]:
        return _standing(firsts, await self._redis.run(_SETTLE, *self._asked(firsts)))

    async def _settle_if_whole(self, firsts: Sequence[tuple[bytes, bytes]]) -> Sequence[bytes]:
        keys, arguments = self._asked(firsts)
        earlier = await self._redis.run(_SETTLE_IF_WHOLE, [*keys, self.memory.key], arguments)
        if not earlier:
            raise UnavailableError("Redis has lost what it held.")
        return _standing(firsts, earlier)

    async def _forget(self, values: Sequence[tuple[bytes, bytes]]) -> Sequence[None]:
        await self._redis.run(_FORGET, [key for key, _ in values], [value for _, value in values])
        return [None] * len(values)

    def _asked(self, firsts: Sequence[tuple[bytes, bytes]]) -> tuple[list[bytes], list[Argument]]:
        return [key for key, _ in firsts], [self._keep_ms, *(value for _, value in firsts)]

    async def _find(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        found: list[bytes | None] = await self._redis.call("MGET", *keys)
        return found


def _standing(firsts: Sequence[tuple[bytes, bytes]], earlier: Sequence[bytes | None]) -> list[bytes]:
    return [
        value if standing is None else standing for (_, value), standing in zip(firsts, earlier, strict=True)
    ]
