"""Answer HTTP at an address until told to drain."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import uvicorn
from litestar.types import ASGIApp

from shared.runtime.bounded_http import BoundedHttpProtocol

DRAIN_S = 15
BACKLOG = 2048


class ListenError(Exception):
    """The address cannot be listened on; the text says why."""


class _Server(uvicorn.Server):
    """uvicorn, with signals left to the process: its own handling would end the process by the signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Listener:
    """An address that is being answered at; made by `listen`."""

    def __init__(self, server: _Server, serving: "asyncio.Task[None]") -> None:
        self._server = server
        self._serving = serving

    async def drain(self) -> None:
        """Take no new connection, finish the requests in flight (for `DRAIN_S` at most), and end."""
        self._server.should_exit = True
        await self._serving

    async def wait(self, stop: asyncio.Event) -> None:
        """Wait until `stop` is set, or until nothing is answered any more."""
        waiting = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([self._serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()


@asynccontextmanager
async def listen(app: ASGIApp, host: str, port: int) -> AsyncIterator[Listener]:
    """Answer at `host:port` while the block runs, and drain at its end.

    Raises:
        ListenError: the address is taken, or none of this machine's.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[open_socket(host, port)]), name=f"http-{port}")
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn offers no event to wait for
        await asyncio.sleep(0.01)
    listener = Listener(server, serving)
    try:
        yield listener
    finally:
        await listener.drain()


def open_socket(host: str, port: int) -> socket.socket:
    """Listen on an address.

    Raises:
        ListenError: it is taken, or none of this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
