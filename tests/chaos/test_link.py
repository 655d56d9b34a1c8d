"""A link passes everything on, until it is told otherwise."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from tests.chaos.link import Link


class Echo:
    """A server that sends back what it gets; the name tells which one it was."""

    def __init__(self, name: bytes) -> None:
        self._name = name
        self.server: asyncio.Server | None = None

    async def open(self) -> str:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                writer.write(self._name + b" " + line)
        writer.close()


class Caller:
    """A connection over the link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, seconds: float = 5) -> bytes:
        self._writer.write(b"hello\n")
        return await self.hear(seconds)

    async def hear(self, seconds: float) -> bytes:
        async with asyncio.timeout(seconds):
            return await self._reader.readline()


async def call(link: Link) -> Caller:
    return Caller(*await asyncio.open_connection("127.0.0.1", link.port))


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    made = Link([await Echo(b"one").open(), await Echo(b"two").open()])
    await made.open()
    yield made
    await made.close()


async def test_connections_go_to_the_targets_in_turn(link: Link) -> None:
    answers = [await (await call(link)).ask() for _ in range(4)]
    assert answers == [b"one hello\n", b"two hello\n", b"one hello\n", b"two hello\n"]


async def test_a_target_that_refuses_is_passed_over() -> None:
    made = Link(["127.0.0.1:1", await Echo(b"two").open()])
    await made.open()
    assert [await (await call(made)).ask() for _ in range(2)] == [b"two hello\n"] * 2
    await made.close()


async def test_a_slow_link_delays_both_directions(link: Link) -> None:
    caller = await call(link)
    link.delay_s = 0.1
    started = time.monotonic()
    await caller.ask()
    assert 0.1 <= time.monotonic() - started < 2


async def test_a_cut_link_resets_and_refuses_until_it_is_opened(link: Link) -> None:
    caller = await call(link)
    await caller.ask()
    await link.cut()
    with contextlib.suppress(ConnectionError):  # the end comes as a reset, or as the end of the stream
        assert await caller.ask() == b""
    with pytest.raises(ConnectionRefusedError):
        await call(link)
    await link.open()
    assert await (await call(link)).ask()


async def test_what_was_swallowed_arrives_in_the_end(link: Link) -> None:
    caller = await call(link)
    await caller.ask()
    link.swallow()
    with pytest.raises(TimeoutError):
        await caller.ask(0.2)
    late = await call(link)
    with pytest.raises(TimeoutError):
        await late.ask(0.2)
    link.let_through()
    assert await caller.hear(5) == b"one hello\n"
    assert await late.hear(5) == b"two hello\n"


async def test_a_forgotten_connection_is_silent_for_ever_and_new_ones_work(link: Link) -> None:
    caller = await call(link)
    await caller.ask()
    link.forget()
    with pytest.raises(TimeoutError):
        await caller.ask(0.3)
    assert await (await call(link)).ask()
