"""The gateway behind a real server, spoken to over sockets: what only bytes can show."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.gateway.conftest import House, new_plain
from tests.gateway.streets import serve


@pytest.fixture
async def port(house: House) -> AsyncIterator[int]:
    async with serve(house.app) as [port]:
        yield port


async def say(port: int, text: bytes) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    await writer.drain()
    whole = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    head, _, body = whole.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert len(headers) == len(lines), f"a header came twice: {lines}"
    return int(first.split()[1]), headers, body


def unchunked(text: bytes) -> bytes:
    whole = b""
    while True:
        size, _, text = text.partition(b"\r\n")
        whole += text[: int(size, 16)]
        text = text[int(size, 16) + 2 :]
        if size == b"0":
            assert text == b""
            return whole


def get(target: str, *lines: str) -> bytes:
    head = [f"GET {target} HTTP/1.1", "Host: api.test", "Connection: close", *lines]
    return "\r\n".join([*head, "", ""]).encode("latin-1")


async def test_one_date_and_every_promised_header(port: int) -> None:
    status, headers, _ = await say(port, get("/registry"))
    assert status == 200
    for name in ("date", "x-request-id", "x-content-type-options", "ratelimit", "x-ratelimit-limit"):
        assert name in headers
    assert "server" not in headers


@pytest.mark.parametrize(
    "target",
    [
        "/registry/../internal/keys/verify",
        "/registry/%2e%2e/internal/keys/verify",
        "/registry/%2e%2e%2finternal%2fkeys%2fverify",
        "//internal/keys/verify",
        "/internal/keys/verify",
        "/./internal/keys/verify",
        "http://api.test/internal/keys/verify",
        "/registry/%00",
        "/API/v1/log",
    ],
)
async def test_no_spelling_reaches_what_is_internal(house: House, port: int, target: str) -> None:
    status, _, _ = await say(port, get(target, f"X-API-Key: {house.new_key()}"))
    assert status == 404
    assert house.auth.lookups == []
    assert house.auth.requests == []


async def test_two_keys_on_the_wire_are_refused(house: House, port: int) -> None:
    key = house.new_key()
    status, _, _ = await say(port, get("/api/v1/stats", f"X-API-Key: {key}", f"x-api-key: {key}"))
    assert status == 401
    assert house.auth.lookups == []


async def test_head_has_no_body_on_the_wire(port: int) -> None:
    for target in ("/registry", "/docs", "/nowhere"):
        request = get(target).replace(b"GET", b"HEAD", 1)
        _, headers, body = await say(port, request)
        assert body == b""
        assert int(headers["content-length"]) > 0


@pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_000])
async def test_a_body_in_chunks_arrives_whole(house: House, port: int, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    chunks = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
    encoded = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    head = (
        f"POST /api/v1/log/batch HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {house.new_key()}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    status, _, _ = await say(port, head.encode() + encoded)
    assert status == 200
    assert house.services["ingest"].last.body == body


async def test_a_client_that_waits_for_100_continue_is_told_to_go_on(house: House, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        "POST /api/v1/log HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        f"X-API-Key: {house.new_key()}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode())
    async with asyncio.timeout(5):
        assert b"100 Continue" in await reader.readline()
        writer.write(b"{}")
        assert b"200 OK" in await reader.read()
    writer.close()
    assert house.services["ingest"].last.body == b"{}"


async def test_a_client_that_leaves_is_no_error_in_the_log(
    house: House, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    released = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await released.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(50):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    house.services["registry"].act = slow
    for _ in range(5):  # leaving while the answer is being made
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/registry"))
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()
    released.set()
    for _ in range(5):  # leaving in the middle of the answer
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/registry"))
        await reader.read(1000)
        writer.transport.abort()
    key = house.new_key()
    for _ in range(5):  # leaving in the middle of the request
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /api/v1/log HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Length: 100\r\n\r\n"
        writer.write(head.encode() + b"half")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.transport.abort()
    await asyncio.sleep(0.3)
    house.services["registry"].act = None
    assert (await say(port, get("/registry")))[0] == 200
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_long_answer_streams_through_whole(house: House, port: int) -> None:
    async def long(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/csv")]}
        )
        for number in range(200):
            await send({"type": "http.response.body", "body": b"%010d\n" % number * 1000, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    house.services["ingest"].act = long
    status, headers, body = await say(port, get("/api/v1/logs?format=csv", f"X-API-Key: {house.new_key()}"))
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    assert unchunked(body) == b"".join(b"%010d\n" % number * 1000 for number in range(200))


async def test_a_header_flood_is_no_500(house: House, port: int) -> None:
    lines = [f"X-Filler-{number}: {'y' * 50}" for number in range(300)]
    status, _, _ = await say(port, get("/registry", *lines, f"X-Forwarded-For: {'1' * 10_000}"))
    assert status < 500
    status, _, _ = await say(port, get("/api/v1/stats", f"X-API-Key: {new_plain()}", *lines))
    assert status < 500
