"""Every round trip to Redis: connecting, and a command with its answer."""

import functools
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.faults.interceptor import Failing, Interceptor, replace

_PATIENCE_S = 0.5  # ten times what the product waits


def watch_redis(interceptor: Interceptor) -> None:
    """Let every call to Redis of this process pass through the interceptor."""
    replace(AbstractConnection, "connect", functools.partial(_connecting, interceptor))
    replace(AbstractConnection, "send_command", functools.partial(_sending, interceptor))
    replace(AbstractConnection, "read_response", functools.partial(_reading, interceptor))


def _failing(connection: Any) -> Failing:
    def break_up() -> None:
        if connection._writer is not None:
            connection._writer.transport.abort()

    return Failing(
        error=lambda: RedisConnectionError("the connection was reset"),
        timeout=lambda: RedisTimeoutError("no answer"),
        patience_s=_PATIENCE_S,
        break_up=break_up,
    )


def _connecting(interceptor: Interceptor, real: Any) -> Any:
    async def connect(connection: Any, *arguments: Any, **options: Any) -> None:
        await interceptor.around(
            "redis", "connect", lambda: real(connection, *arguments, **options), _failing(connection)
        )

    return connect


def _sending(interceptor: Interceptor, real: Any) -> Any:
    """The first half of a call: it goes out with the reading of its answer."""

    async def send_command(connection: Any, *command: Any, **options: Any) -> None:
        if interceptor.is_within("redis"):
            await real(connection, *command, **options)
        else:
            connection.llmring_sending = lambda: real(connection, *command, **options)
            connection.llmring_name = _name(command)

    return send_command


def _reading(interceptor: Interceptor, real: Any) -> Any:
    async def read_response(connection: Any, *arguments: Any, **options: Any) -> Any:
        if interceptor.is_within("redis"):
            return await real(connection, *arguments, **options)
        send = connection.llmring_sending

        async def perform() -> Any:
            await send()
            return await real(connection, *arguments, **options)

        return await interceptor.around("redis", connection.llmring_name, perform, _failing(connection))

    return read_response


def _name(command: tuple[Any, ...]) -> str:
    """The command, and for scripts which one."""
    name = str(command[0])
    return f"{name} {str(command[1])[:6]}" if name == "EVALSHA" else name
