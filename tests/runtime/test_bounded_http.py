"""What has not become a request yet is bounded, in size and in time."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import uvicorn

from shared.limits.address import parse_trusted_proxies
from shared.runtime.bounded_http import MAX_HEAD_BYTES, BoundedHttpProtocol
from shared.runtime.connections import Connections
from shared.runtime.listen import listen
from shared.web.asgi import ClientGoneError, read_body, send_answer
from tests.servers.process import find_free_port


class Impatient(BoundedHttpProtocol):
    first_byte_s = head_s = body_s = stalled_s = 0.5


async def echo(scope: Any, receive: Any, send: Any) -> None:
    with contextlib.suppress(ClientGoneError):
        body = await read_body(scope, receive, 1_000_000)
        await send_answer(send, 200, body if scope["path"] == "/" else b"x" * 50_000_000)


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


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"GET / HTTP/1.1\r\n", b"a: b\r\n"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999\r\n\r\n", b"x"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
async def test_a_request_that_trickles_has_no_more_time_than_one_that_is_silent(
    server: tuple[str, int, uvicorn.Server], head: bytes, piece: bytes
) -> None:
    reader, writer = await asyncio.open_connection(*server[:2])
    ended = asyncio.create_task(reader.read())
    started = time.monotonic()
    writer.write(head)
    while not ended.done():
        assert time.monotonic() - started < 5
        writer.write(piece)
        await asyncio.sleep(0.05)
    assert time.monotonic() - started > 0.3
    writer.close()


async def test_a_body_that_keeps_up_has_as_long_as_it_takes(server: tuple[str, int, uvicorn.Server]) -> None:
    reader, writer = await asyncio.open_connection(*server[:2])
    size = 16 * 1024 * 16
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size)
    started = time.monotonic()
    for _ in range(16):
        writer.write(b"x" * (size // 16))
        await asyncio.sleep(0.1)
    assert time.monotonic() - started > 3 * Impatient.body_s
    assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"x" * 1000)
    writer.close()


async def test_an_answer_that_nobody_takes_is_given_up(server: tuple[str, int, uvicorn.Server]) -> None:
    _, writer = await asyncio.open_connection(*server[:2], limit=1)
    writer.write(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n")
    connections = server[2].server_state.connections
    async with asyncio.timeout(5):
        while not connections:  # noqa: ASYNC110 - uvicorn offers no event to wait for
            await asyncio.sleep(0.01)
        while connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    writer.close()


@pytest.mark.parametrize("whole", [True, False])
async def test_a_server_that_ends_does_not_wait_for_who_takes_no_answer(
    server: tuple[str, int, uvicorn.Server], monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    monkeypatch.setattr(Impatient, "stalled_s", 60)
    monkeypatch.setattr(Impatient, "stalled_at_the_end_s", 0.2)
    with socket.create_connection(server[:2]) as client:
        # An answer that is under way; or also the beginning of one more request, of which no more comes.
        more = b"" if whole else b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc"
        client.sendall(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n" + more)
        connections = server[2].server_state.connections
        while not any(each.transport.get_write_buffer_size() for each in connections):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        started = time.monotonic()
        server[2].should_exit = True
        while connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert time.monotonic() - started < 3


@pytest.mark.parametrize("header", [b"", b"connection: close\r\n"])
async def test_the_rest_of_an_answer_that_nobody_takes_is_given_up(header: bytes) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # so that a rest is left that is short
    config = uvicorn.Config(echo, http=Impatient, ws="none", lifespan="off", log_config=None, loop="none")
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve(sockets=[listening]))
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(listening.getsockname())
    await asyncio.to_thread(
        client.sendall, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n" + header
    )
    await asyncio.to_thread(client.sendall, b"\r\n" + b"x" * 60_000)
    async with asyncio.timeout(5):
        while running.server_state.total_requests == 0 or running.server_state.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    client.close()
    running.should_exit = True
    await task


async def test_every_request_of_a_connection_learns_that_it_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(scope, receive, 0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2):  # the second time there is no connection
            await send({"type": "http.response.body", "body": b"x" * 50_000_000, "more_body": True})
        await told.put((await receive())["type"])

    monkeypatch.setattr(BoundedHttpProtocol, "stalled_s", 0.2)
    port = find_free_port()
    async with listen(app, "127.0.0.1", port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
        assert await asyncio.wait_for(told.get(), 5) == "http.disconnect"
        writer.close()
    assert told.empty()


async def test_who_sends_no_more_is_answered(server: tuple[str, int, uvicorn.Server]) -> None:
    post = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n%b"
    for text, answers in (
        (post % b"abc", [b"abc"]),
        (post % b"abc" + post % b"def", [b"abc", b"def"]),
        (post % b"ab", []),
        (b"", []),
    ):
        reader, writer = await asyncio.open_connection(*server[:2])
        writer.write(text)
        writer.write_eof()
        told = (await asyncio.wait_for(reader.read(), 5)).split(b"HTTP/1.1 200 OK\r\n")[1:]
        assert [each.rpartition(b"\r\n\r\n")[2] for each in told] == answers
        writer.close()
    reader, writer = await asyncio.open_connection(*server[:2])
    writer.write(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n")
    writer.write_eof()
    assert (await asyncio.wait_for(reader.read(), 20)).count(b"x") >= 50_000_000
    writer.close()


async def say(server: tuple[str, int, uvicorn.Server], text: bytes) -> tuple[bytes, bytes]:
    """Say it at once; the head of the answer, and what comes after it until the connection ends."""
    reader, writer = await asyncio.open_connection(*server[:2], limit=1_000_000)
    writer.write(text)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    writer.close()
    return head, body


def filler(count: int, size: int) -> bytes:
    lines = b"".join(b"x-%d: %s\r\n" % (number, b"y" * size) for number in range(count))
    return b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + lines + b"\r\n"


@pytest.mark.parametrize(
    ("count", "size", "status"), [(126, 9, 200), (127, 9, 431), (100, 640, 200), (100, 660, 431)]
)
async def test_a_head_is_bounded_to_the_byte_and_to_the_field(
    server: tuple[str, int, uvicorn.Server], count: int, size: int, status: int
) -> None:
    head, body = await say(server, filler(count, size))
    assert head.startswith(b"HTTP/1.1 %d " % status)
    if status == 431:
        assert msgspec.json.decode(body)["status"] == 431
        assert b"content-type: application/problem+json" in head


@pytest.mark.parametrize(
    "smuggled",
    [
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: +5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5, 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nna me: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nname: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\nhost: x\n\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
        b"GET / HTTP/2.0\r\nhost: x\r\n\r\n",
        b"GET /\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
async def test_a_request_that_could_be_read_in_two_ways_is_refused(
    server: tuple[str, int, uvicorn.Server], smuggled: bytes
) -> None:
    head, body = await say(server, smuggled)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in head
    problem = msgspec.json.decode(body)
    assert (problem["status"], problem["type"]) == (400, "https://llmring.ai/problems/malformed-request")
    assert f"x-request-id: {problem['request_id']}".encode() in head


CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
UPGRADE = b"host: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"


@pytest.mark.parametrize("cut", [0, 40, 130, 200])
async def test_an_offer_to_upgrade_changes_nothing(server: tuple[str, int, uvicorn.Server], cut: int) -> None:
    first = b"POST / HTTP/1.1\r\n" + UPGRADE + b"content-length: 44\r\n\r\n"
    text = first + b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n".ljust(44, b".")
    text += b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\n" + b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    text += b"content-length: 4\r\n\r\nlast"
    reader, writer = await asyncio.open_connection(*server[:2])
    for piece in (text[:cut], text[cut:]):
        writer.write(piece)
        await asyncio.sleep(0.05)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.count(b"GET /smuggled") == 1, "it is the echo of a body"
    assert answer.endswith(b"last")


async def test_trailers_are_no_headers_and_have_an_end() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await echo(scope, receive, send)
        seen.append(scope["headers"])

    port = find_free_port()
    async with listen(app, "127.0.0.1", port):
        place: Any = ("127.0.0.1", port)
        head, body = await say(place, CHUNKED + b"3\r\nabc\r\n0\r\nx-api-key: stolen\r\nhost: y\r\n\r\n")
        assert (head[:12], body) == (b"HTTP/1.1 200", b"abc")
        assert [name for name, _ in seen[0]] == [b"host", b"connection", b"transfer-encoding"]
        for endless in (b"x: y\r\n", b"x" * 1000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(CHUNKED + b"3\r\nabc\r\n0\r\nx: ")
            with contextlib.suppress(ConnectionError):
                for _ in range(200):
                    writer.write(endless * (MAX_HEAD_BYTES // len(endless) // 4))
                    await writer.drain()
                    await asyncio.sleep(0)
                raise AssertionError("it is still taken")
            answer = b""
            with contextlib.suppress(ConnectionError):
                answer = await reader.read(1000)
            assert answer == b"" or b" 431 " in answer
            writer.close()


async def test_of_too_many_connections_the_new_ones_are_refused() -> None:
    port = find_free_port()
    held = Connections(20, parse_trusted_proxies(["127.0.0.2"]))
    async with listen(echo, "127.0.0.1", port, connections=held):

        async def connect(source: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))

        async def is_answered(source: str) -> bool:
            reader, writer = await connect(source)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answer = b""
            with contextlib.suppress(ConnectionError):
                answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            if b" 503 " in answer:
                assert b"retry-after: 5" in answer
            return b" 200 " in answer

        mine = [await connect("127.0.0.1") for _ in range(held.most_of_one)]
        assert not await is_answered("127.0.0.1")
        assert await is_answered("127.0.0.3")
        proxied = [await connect("127.0.0.2") for _ in range(held.most - held.most_of_one)]
        assert not await is_answered("127.0.0.2")
        assert not await is_answered("127.0.0.3")
        mine.pop()[1].close()
        async with asyncio.timeout(5):
            while not await is_answered("127.0.0.1"):  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.01)
        for _, writer in mine + proxied:
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
