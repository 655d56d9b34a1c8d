"""Answer HTTP at an address until told to drain."""

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import uvicorn
from litestar.types import ASGIApp

from shared.runtime.bounded_http import BoundedHttpProtocol
from shared.runtime.connections import Connections
from shared.runtime.tls import GOODBYE_S, HANDSHAKE_S, Certificate

DRAIN_S = 15
BACKLOG = 2048


class ListenError(Exception):
    """The address cannot be listened on; the text says why."""


class _Server(uvicorn.Server):
    """uvicorn, with signals left to the process: its own handling would end the process by the signal."""

    def __init__(
        self, config: uvicorn.Config, certificate: Certificate | None, held: Connections | None
    ) -> None:
        super().__init__(config)
        self._certificate = certificate
        self._held = held

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it, and with what it has no setting for."""
        protocol = functools.partial(
            BoundedHttpProtocol,
            config=self.config,
            server_state=self.server_state,
            app_state={},
            held=self._held,
        )
        certificate = self._certificate
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                protocol,
                sock=each,
                backlog=BACKLOG,
                ssl=None if certificate is None else certificate.context,
                ssl_handshake_timeout=None if certificate is None else HANDSHAKE_S,
                ssl_shutdown_timeout=None if certificate is None else GOODBYE_S,
            )
            for each in sockets or ()
        ]
        self.started = True


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
async def listen(
    app: ASGIApp,
    host: str,
    port: int,
    *,
    certificate: Certificate | None = None,
    connections: Connections | None = None,
) -> AsyncIterator[Listener]:
    """Answer at `host:port` while the block runs, and drain at its end.

    Args:
        app: what answers.
        host: address to listen on.
        port: port to listen on.
        certificate: with it, it is HTTPS. Its files are followed meanwhile.
        connections: bounds their number; None where only our own processes come.

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
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = _Server(config, certificate, connections)
    serving = asyncio.create_task(server.serve(sockets=[open_socket(host, port)]), name=f"http-{port}")
    following = None if certificate is None else asyncio.create_task(certificate.follow())
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn offers no event to wait for
        await asyncio.sleep(0.01)
    listener = Listener(server, serving)
    try:
        yield listener
    finally:
        if following is not None:
            following.cancel()
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
