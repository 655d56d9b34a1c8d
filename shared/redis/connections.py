"""Connections to Redis, each of them in one caller's hands at a time.

The driver's own pool and client are left aside. A cancelled command must close its connection, or the answer
goes to whoever takes the connection next; the pool's check of a connection sees only that it has ended, not
that an answer lies in it. Here a connection is kept under one condition, in one place. It is also four times
as fast (docs/adr/0009-redis.md).
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from redis.asyncio import Connection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from shared.redis.time_limit import TimeLimit

Argument: TypeAlias = bytes | str | int
Answer: TypeAlias = Any
"""Bytes, an int, None or a list of these: the command says which."""

_Connection: TypeAlias = Any  # one of the driver's; some of its methods carry no annotations

_MAX_IDLE: Final = 8
"""Callers share round trips, so that a process hardly ever has more than a few under way."""


class Connections:
    """Opens connections to one server, lends them and keeps the idle ones.

    Args:
        url: `redis://`, `rediss://` (TLS) or `unix://`, with user, password and number of the database.

    Raises:
        ValueError: the URL is malformed.
    """

    def __init__(self, url: str) -> None:
        self._options = _read_url(url)
        self._kind = self._options.pop("connection_class", Connection)
        self._idle: list[_Connection] = []
        self._closed = False
        self._build()  # tells now of an option that it does not know

    async def ask(self, command: Sequence[Argument], limit_s: float) -> Answer:
        """Send one command and return its answer.

        A connection is kept for others only when the whole answer has been read. In every other case, also
        when the caller is cancelled, it is closed, and what was about to arrive on it goes nowhere.

        Args:
            command: its name and arguments.
            limit_s: seconds to connect, if no connection is idle, and as many again to send and to answer.

        Raises:
            Exception: whatever the driver raises; `ResponseError` when the server answered with an error.
        """
        connection = await self._take(limit_s)
        in_order = False
        try:
            async with TimeLimit(limit_s):
                await connection.send_command(*command)
                answer = await connection.read_response()
            in_order = True
        except ResponseError:
            in_order = True
            raise
        finally:
            if in_order and len(self._idle) < _MAX_IDLE and not self._closed:
                self._idle.append(connection)
            else:
                await connection.disconnect(nowait=True)
        return answer

    async def open_idle(self, limit_s: float) -> None:
        """Open a connection in advance, within `limit_s` seconds; errors as for `ask`."""
        self._idle.append(await self._open(limit_s))

    async def drop_idle(self) -> None:
        """Close what is idle: the server may be another one by now, behind the same name."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close what is idle, and everything else as soon as it is given back."""
        self._closed = True
        await self.drop_idle()

    async def _take(self, limit_s: float) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if not await _has_ended(connection):
                return connection
            await connection.disconnect(nowait=True)
        return await self._open(limit_s)

    async def _open(self, limit_s: float) -> _Connection:
        connection = self._build()
        try:
            async with TimeLimit(limit_s):
                await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    def _build(self) -> _Connection:
        try:
            connection: _Connection = self._kind(**self._options)
        except (TypeError, RedisError) as error:
            raise ValueError(f"Redis URL: {error}") from None
        return connection


async def _has_ended(connection: _Connection) -> bool:
    """Whether the server has closed it meanwhile, as it does with idle ones and when it restarts."""
    try:
        return bool(await connection.can_read_destructive())
    except (OSError, ResponseError):
        return True


def _read_url(url: str) -> dict[str, Any]:
    options: dict[str, Any] = dict(parse_url(url))
    parts = urlsplit(url)
    number = parts.path.strip("/")
    if parts.scheme != "unix" and number and not (number.isascii() and number.isdigit()):
        raise ValueError("Redis URL: the path must be the number of a database")  # the driver takes 0 for it
    # None of these may come from the URL. Its time-outs and retries are ours: one limit for all of a command.
    return options | {
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "retry_on_error": [],
        "health_check_interval": 0,
        "decode_responses": False,
        "protocol": 2,
    }
