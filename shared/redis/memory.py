"""Whether Redis still holds all that was put into it: it says nothing when it has lost everything.

A mark in Redis names the run of the server in which everything was there. A server that was started again has
another run, also where it has loaded what it once saved; an emptied one has no mark. Who finds the memory
broken puts back what must not be missing and then sets the mark, unless it broke once more meanwhile.
"""

import os
from datetime import timedelta
from typing import Final

from shared.redis.client import Redis, Script, keep_ms

RUN_OF_SERVER: Final = """
    local info = redis.pcall('INFO', 'server')
    local run = type(info) == 'string' and string.match(info, 'run_id:(%w+)')
"""
"""False where the server does not tell, as to a user that may not ask: then nothing is ever called whole."""

_BEGIN: Final = Script(
    RUN_OF_SERVER
    + """
    local mark = redis.call('GET', KEYS[1])
    if not run or mark == run or (mark and string.find(mark, run .. ':', 1, true) == 1) then
      return false
    end
    redis.call('SET', KEYS[1], run .. ':' .. ARGV[1], 'PX', ARGV[2])
    return run .. ':' .. ARGV[1]
    """
)
_RENEW: Final = Script(
    """
    if redis.call('GET', KEYS[1]) == ARGV[1] then
      redis.call('PEXPIRE', KEYS[1], ARGV[2])
    end
    return 0
    """
)
_END: Final = Script(
    RUN_OF_SERVER
    + """
    if not run or redis.call('GET', KEYS[1]) ~= ARGV[1] or string.find(ARGV[1], run .. ':', 1, true) ~= 1 then
      return 0
    end
    redis.call('SET', KEYS[1], run)
    return 1
    """
)


class Memory:
    """The mark of one kind of contents.

    Args:
        redis: where it is kept.
        key: of the mark.
        patience: how long a caller that restores the contents may be silent before another one may try.
    """

    def __init__(self, redis: Redis, key: bytes, patience: timedelta) -> None:
        self._redis = redis
        self.key = key
        self._patience_ms = keep_ms(patience)

    async def begin(self) -> bytes | None:
        """Start to restore what must not be missing; None where nothing is, or somebody else is at it.

        Raises:
            UnavailableError: Redis is away.
        """
        token: bytes | None = await self._redis.run(
            _BEGIN, [self.key], [os.urandom(8).hex(), self._patience_ms]
        )
        return token

    async def renew(self, token: bytes) -> None:
        """Tell that it still goes on.

        Raises:
            UnavailableError: Redis is away.
        """
        await self._redis.run(_RENEW, [self.key], [token, self._patience_ms])

    async def end(self, token: bytes) -> bool:
        """Everything is there; false if it was lost again since the token was given.

        Raises:
            UnavailableError: Redis is away.
        """
        return bool(await self._redis.run(_END, [self.key], [token]))

    async def doubt(self) -> None:
        """Something is missing.

        Raises:
            UnavailableError: Redis is away.
        """
        await self._redis.call("DEL", self.key)
