"""Clients of a real Redis, and a server that hears everything and says nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from shared.redis import Redis, open_redis

PATIENT = timedelta(seconds=10)
"""For tests that are not about time: a busy machine is no outage."""

Open = Callable[..., Awaitable[Redis]]


@pytest.fixture
async def open_client() -> AsyncIterator[Open]:
    """`await open_client(url, time_limit=...)`: patient unless told otherwise, closed after the test."""
    clients: list[Redis] = []

    async def open_one(url: str, *, time_limit: timedelta = PATIENT) -> Redis:
        clients.append(await open_redis(url, time_limit=time_limit))
        return clients[-1]

    yield open_one
    for client in clients:
        await client.close()


@pytest.fixture
async def redis(redis_url: str, open_client: Open) -> Redis:
    """A patient client of an empty database."""
    return await open_client(redis_url)


class SilentServer:
    """Accepts connections and answers no command, as a Redis does that froze just after the greeting."""

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.heard = b""

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._hear, "127.0.0.1", 0)
        self.url = "redis://{}:{}".format(*server.sockets[0].getsockname())
        async with server:
            yield

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while part := await reader.read(4096):
            self.heard += part
            writer.write(b"+OK\r\n" * part.count(b"SETINFO"))  # the driver's greeting
        writer.close()


@pytest.fixture
async def silent_server() -> AsyncIterator[SilentServer]:
    server = SilentServer()
    async with server.listen():
        yield server


async def eventually(holds: Callable[[], bool], seconds: float) -> None:
    """Wait until something holds, at most so long."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what it waits for happens elsewhere and sets no event
            await asyncio.sleep(0.01)
