"""What has not become a request yet is bounded, in size and in time."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from shared.runtime.bounded_http import MAX_HEAD_BYTES, BoundedHttpProtocol
from shared.web.asgi import ClientGoneError, read_body, send_answer


class Impatient(BoundedHttpProtocol):
    request_s = 0.5


async def echo(scope: Any, receive: Any, send: Any) -> None:
    with contextlib.suppress(ClientGoneError):
        await send_answer(send, 200, await read_body(scope, receive, 1_000_000))


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, int, uvicorn.Server]]:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(echo, http=Impatient, ws="none", lifespan="off", log_config=None, loop="none")
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve(sockets=[listening]))
    while not running.started:  # noqa: ASYNC110 - uvicorn offers no event to wait for
        await asyncio.sleep(0.01)
    yield (*listening.getsockname(), running)
    running.should_exit = True
    await task


async def test_a_header_without_end_is_refused(server: tuple[str, int, uvicorn.Server]) -> None:
    reader, writer = await asyncio.open_connection(*server[:2])
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nlong: ")
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            writer.write(b"x" * MAX_HEAD_BYTES)
            await writer.drain()
            await asyncio.sleep(0)
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = await reader.read(1000)
    assert answer == b"" or b" 431 " in answer
    writer.close()


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nhost:", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc"]
)
async def test_a_request_that_does_not_come_is_not_waited_for(
    server: tuple[str, int, uvicorn.Server], sent: bytes
) -> None:
    reader, writer = await asyncio.open_connection(*server[:2])
    started = time.monotonic()
    writer.write(sent)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert 0.3 < time.monotonic() - started < 3
    writer.close()


async def test_a_slow_request_in_time_and_the_next_on_its_connection_are_answered(
    server: tuple[str, int, uvicorn.Server],
) -> None:
    reader, writer = await asyncio.open_connection(*server[:2])
    for _ in range(4):  # longer than one request may take, all together
        for piece in (b"POST / HTTP/1.1\r\nhost: x\r\n", b"content-length: 6\r\n\r\nabc", b"def"):
            writer.write(piece)
            await asyncio.sleep(0.07)
        assert (await reader.readuntil(b"def")).startswith(b"HTTP/1.1 200 OK")
    writer.close()


async def test_a_server_that_ends_does_not_wait_for_the_rest_of_a_request(
    server: tuple[str, int, uvicorn.Server],
) -> None:
    reader, writer = await asyncio.open_connection(*server[:2])
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc")
    await asyncio.sleep(0.05)
    started = time.monotonic()
    server[2].should_exit = True
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert time.monotonic() - started < 0.4
    writer.close()
