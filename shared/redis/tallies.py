"""Tallies: counts that never go above a limit, whoever counts, and that tell when they may be wrong."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from shared.coalescer import Coalescer
from shared.redis.client import Redis, Script, keep_ms
from shared.redis.connections import Argument
from shared.redis.memory import RUN_OF_SERVER

_MAX_NAMED: Final = 100
_MAX_REQUESTS: Final = 20
"""One script must fit in the time limit: that is two thousand steps at most."""

# A tally names the run of the server in which it was begun. A server that was started again may have loaded
# what it once saved, so its tallies do not count: see `Memory`.
_TAKE: Final = Script(
    RUN_OF_SERVER
    + """
    local results, key, arg = {}, 1, 3
    local keep, keep_named = ARGV[1], ARGV[2]
    while KEYS[key] do
      local limit, unnamed, named = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2])
      local state = redis.call('HMGET', KEYS[key], 'run', 'used')
      if not run or state[1] ~= run then
        results[#results + 1] = {}
      else
        local used, before, passed = tonumber(state[2]), tonumber(state[2]), {}
        for i = 1, named do
          local name = KEYS[key + i]
          if redis.call('EXISTS', name) == 1 then
            passed[i] = 1
          elseif used < limit then
            used = used + 1
            passed[i] = 1
            redis.call('SET', name, '', 'PX', keep_named)
          else
            passed[i] = 0
          end
        end
        local room = math.max(0, math.min(unnamed, limit - used))
        used = used + room
        if used ~= before then
          redis.call('HSET', KEYS[key], 'used', string.format('%.0f', used))
          redis.call('PEXPIRE', KEYS[key], keep)
        end
        results[#results + 1] = {string.format('%.0f', used), room, unpack(passed)}
      end
      key = key + 1 + named
      arg = arg + 3
    end
    return results
    """
)
_BEGIN: Final = Script(
    RUN_OF_SERVER
    + """
    if run and redis.call('HGET', KEYS[1], 'run') ~= run then
      redis.call('HSET', KEYS[1], 'run', run, 'used', ARGV[2])
      redis.call('PEXPIRE', KEYS[1], ARGV[1])
    end
    return 0
    """
)
_GIVE_BACK: Final = Script(
    """
    local used = redis.call('HGET', KEYS[1], 'used')
    if used then
      redis.call('HSET', KEYS[1], 'used', string.format('%.0f', math.max(0, used - ARGV[1])))
    end
    for i = 2, #KEYS do
      redis.call('DEL', KEYS[i])
    end
    return 0
    """
)


class Tally(NamedTuple):
    """What came of counting: the new count, how many unnamed passed, and which of the named."""

    used: int
    unnamed: int
    named: list[bool]


class _Request(NamedTuple):
    key: bytes
    limit: int
    unnamed: int
    names: Sequence[bytes]


class Tallies:
    """One count per key, kept for `keep` after it last grew.

    What is counted may have a name. A name that was counted passes again uncounted, for `keep_names`.

    Args:
        redis: where they are kept.
        prefix: of all keys in Redis; no other user of the server may have one that begins with it.
        keep: at least a millisecond.
        keep_names: likewise.
    """

    def __init__(self, redis: Redis, prefix: str, keep: timedelta, keep_names: timedelta) -> None:
        self._redis = redis
        self._prefix = prefix.encode()
        self._keep_ms = keep_ms(keep)
        self._keep_names_ms = keep_ms(keep_names)
        self._takes: Coalescer[_Request, Tally | None] = Coalescer(self._take, max_items=_MAX_REQUESTS)

    async def take(self, key: bytes, limit: int, unnamed: int, names: Sequence[bytes]) -> Tally | None:
        """Count names, then unnamed ones, as long as the count is below the limit. One step for all who ask.

        Returns:
            None where the count was never begun, or may have been lost.

        Raises:
            UnavailableError: Redis is away; it may have been counted all the same.
        """
        parts = [names[i : i + _MAX_NAMED] for i in range(0, len(names), _MAX_NAMED)] or [()]
        requests = [
            _Request(self._prefix + key, limit, 0 if i else unnamed, [self._name(n) for n in part])
            for i, part in reversed(list(enumerate(parts)))
        ]
        tallies = await asyncio.gather(*map(self._takes.submit, requests))
        known = [tally for tally in reversed(tallies) if tally is not None]
        if len(known) < len(parts):
            return None
        return Tally(known[0].used, known[0].unnamed, [passed for tally in known for passed in tally.named])

    async def begin(self, key: bytes, used: int) -> None:
        """Say what the count is, unless it is known.

        Raises:
            UnavailableError: Redis is away.
        """
        await self._redis.run(_BEGIN, [self._prefix + key], [self._keep_ms, used])

    async def give_back(self, key: bytes, count: int, names: Sequence[bytes]) -> None:
        """Take so many from the count, and forget names.

        Raises:
            UnavailableError: Redis is away; it may have been done all the same.
        """
        keys = [self._prefix + key, *(self._name(name) for name in names)]
        await self._redis.run(_GIVE_BACK, keys, [count])

    async def forget(self, key: bytes) -> None:
        """The count is not known any more.

        Raises:
            UnavailableError: Redis is away.
        """
        await self._redis.call("DEL", self._prefix + key)

    def _name(self, name: bytes) -> bytes:
        return self._prefix + b"name:" + name

    async def _take(self, requests: Sequence[_Request]) -> Sequence[Tally | None]:
        keys: list[bytes] = []
        arguments: list[Argument] = [self._keep_ms, self._keep_names_ms]
        for request in requests:
            keys += [request.key, *request.names]
            arguments += [request.limit, request.unnamed, len(request.names)]
        answers: list[list[bytes]] = await self._redis.run(_TAKE, keys, arguments)
        return [
            Tally(int(answer[0]), int(answer[1]), [bool(int(passed)) for passed in answer[2:]])
            if answer
            else None
            for answer in answers
        ]
