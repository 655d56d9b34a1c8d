"""Every round trip to Postgres: asyncpg's connecting, and the requests of its protocol."""

import functools
from typing import Any

import asyncpg
from asyncpg import connect_utils
from asyncpg.protocol import protocol as wire

from tests.faults.interceptor import Failing, Interceptor, replace

_PATIENCE_S = 0.7  # longer than ingest waits for a claim, so that its own time limit is met as well
_SHOWN = 48
_CALLS = {
    # method of the protocol: which of its arguments tells what is asked, by place and by name
    "query": (0, "query"),
    "prepare": (1, "query"),
    "bind": (0, "state"),
    "bind_execute": (0, "state"),
    "bind_execute_many": (0, "state"),
    "execute": (0, "state"),
    "copy_in": (0, "copy_stmt"),
    "copy_out": (0, "copy_stmt"),
    "close_portal": None,
    "close_statement": None,
}


def watch_postgres(interceptor: Interceptor) -> None:
    """Let every call to Postgres of this process pass through the interceptor."""
    replace(connect_utils, "_connect", functools.partial(_connecting, interceptor))
    for name in _CALLS:
        replace(wire.Protocol, name, functools.partial(_asking, interceptor, name))
    replace(wire.Protocol, "close", functools.partial(_closing, interceptor))


def _connecting(interceptor: Interceptor, real: Any) -> Any:
    async def connect(**options: Any) -> Any:
        made: list[Any] = []

        async def perform() -> Any:
            made.append(await real(**options))
            return made[0]

        def break_up() -> None:
            for connection in made:
                connection.terminate()

        failing = Failing(
            error=lambda: ConnectionResetError("the connection was reset"),
            patience_s=_PATIENCE_S,
            break_up=break_up,
        )
        try:
            return await interceptor.around("postgres", "connect", perform, failing)
        except BaseException:
            break_up()
            raise

    return connect


def _asking(interceptor: Interceptor, method: str, real: Any) -> Any:
    async def ask(protocol: Any, *arguments: Any, **options: Any) -> Any:
        return await interceptor.around(
            "postgres",
            _name(method, arguments, options),
            lambda: real(protocol, *arguments, **options),
            Failing(
                error=lambda: asyncpg.ConnectionDoesNotExistError(
                    "connection was closed in the middle of operation"
                ),
                patience_s=_PATIENCE_S,
                break_up=protocol.abort,
            ),
        )

    return ask


def _name(method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
    """The method and the beginning of the statement."""
    place = _CALLS[method]
    if place is None:
        return method
    asked = arguments[place[0]] if len(arguments) > place[0] else options[place[1]]
    text = " ".join(getattr(asked, "query", asked).split())
    return f"{method} {text[:_SHOWN].strip()}"


def _closing(interceptor: Interceptor, real: Any) -> Any:
    """Say good-bye. A connection that is broken already closes without a word, and without an error."""

    async def close(protocol: Any, *arguments: Any) -> None:
        def break_up() -> None:
            protocol.abort()
            raise _Closed

        failing = Failing(error=_Closed, patience_s=_PATIENCE_S, break_up=break_up)
        try:
            await interceptor.around("postgres", "close", lambda: real(protocol, *arguments), failing)
        except _Closed:
            return

    return close


class _Closed(Exception):  # noqa: N818 - no error: nothing of it reaches the product
    """The connection is closed, one way or the other."""
