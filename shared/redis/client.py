"""Redis as everything here uses it: fast, or not at all."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from redis.exceptions import NoScriptError

from shared.breaker import Breaker
from shared.errors import UnavailableError
from shared.redis.connections import Answer, Argument, Connections

DEFAULT_TIME_LIMIT: Final = timedelta(milliseconds=50)

FAILURES_IN_A_ROW: Final = 3
"""After this many Redis is taken for away. Each of them may have cost a request the whole time limit."""

_PROBE_CONNECT_S: Final = 0.5
"""No request waits for a probe, and its connection serves the next one: TLS and login may take long."""
# A write, since nearly everything asked of Redis is one: out of memory, read-only after a fail-over and
# unable to save are as good as away.
_PROBE: Final = ("SET", "llmring:probe", "", "PX", 10_000)


class Script:
    """A Lua script: one atomic step in the server. All its keys are handed over as `KEYS`.

    Args:
        source: its text. What varies comes as an argument: the server keeps every text that it has seen.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        # Redis names scripts by it.
        self.sha1 = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class Redis:
    """One client of one server. Each command has one chance and a short time limit.

    After a few failures in a row the server is taken for away: every command fails at once, and a probe in
    the background looks for it twice a second. Build it by `open_redis`.
    """

    def __init__(self, url: str, time_limit: timedelta) -> None:
        self._limit_s = time_limit.total_seconds()
        if self._limit_s <= 0:
            raise ValueError("time_limit must be more than 0")
        self._connections = Connections(url)
        self._breaker = Breaker("Redis", self._probe, failures=FAILURES_IN_A_ROW)
        self._closed = False

    @property
    def is_away(self) -> bool:
        """Every command fails at once at present, and nothing is sent."""
        return self._breaker.is_away

    async def ping(self) -> None:
        """See whether the server answers.

        Raises:
            UnavailableError: it does not, or is known to be away.
        """
        await self.call("PING")

    async def call(self, *command: Argument) -> Answer:
        """Send one command and return its answer.

        Raises:
            UnavailableError: the server did not answer in time or refused. It may have done it all the same.
        """
        self._refuse_if_away()
        try:
            answer = await self._connections.ask(command, self._limit_s)
        except Exception as error:
            raise self._failed(error) from error
        self._breaker.answered()
        return answer

    async def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]) -> Answer:
        """Run a script in one round trip; two, when the server does not know it yet.

        Raises:
            UnavailableError: as for `call`.
        """
        self._refuse_if_away()
        try:
            try:
                answer = await self._connections.ask(
                    ("EVALSHA", script.sha1, len(keys), *keys, *arguments), self._limit_s
                )
            except NoScriptError:
                answer = await self._connections.ask(
                    ("EVAL", script.source, len(keys), *keys, *arguments), self._limit_s
                )
        except Exception as error:
            raise self._failed(error) from error
        self._breaker.answered()
        return answer

    async def close(self) -> None:
        """Close all connections; whatever is asked afterwards is `UnavailableError`."""
        self._closed = True
        await self._breaker.stop()
        await self._connections.close()

    async def connect(self) -> None:
        """Ask once whether the server is there; if not, take it for away and look for it from now on."""
        try:
            await self._probe()
        except Exception as error:  # as in `_failed`
            self._breaker.give_up(error)

    def _refuse_if_away(self) -> None:
        if self._closed or self._breaker.is_away:
            raise UnavailableError("Redis is not available at the moment.")

    def _failed(self, error: Exception) -> UnavailableError:
        # Any error at all: a server that answers nonsense makes the driver raise a ValueError, for instance,
        # and nothing that Redis does may cost a request.
        self._breaker.failed(error)
        return UnavailableError("Redis did not answer.")

    async def _probe(self) -> None:
        await self._connections.drop_idle()
        await self._connections.open_idle(_PROBE_CONNECT_S)
        await self._connections.ask(_PROBE, self._limit_s)


async def open_redis(url: str, *, time_limit: timedelta = DEFAULT_TIME_LIMIT) -> Redis:
    """Open a client, whether the server is there or not; it will be found when it comes.

    Args:
        url: `redis://[user:password@]host:port/number`, `rediss://` for TLS, `unix://` for a socket.
        time_limit: for connecting, and for each command.

    Raises:
        ValueError: the URL is malformed.
    """
    redis = Redis(url, time_limit)
    await redis.connect()
    return redis


def keep_ms(keep: timedelta) -> int:
    """How long Redis is to keep something, in its own unit.

    Raises:
        ValueError: less than a millisecond.
    """
    milliseconds = keep // timedelta(milliseconds=1)
    if milliseconds < 1:
        raise ValueError("keep must be at least a millisecond")
    return milliseconds
