"""A service over HTTP that is partly or wholly bad: what is repeated, and when its circuit opens."""

import asyncio
import contextlib
import errno
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import aiohttp
import pytest

from services.gateway.settings import GatewaySettings
from shared.telemetry.metrics import REGISTRY
from shared.web import http_upstream
from shared.web.http_upstream import HttpUpstream
from tests.gateway.conftest import LOG, House, build_parts
from tests.gateway.streets import serve, until
from tests.servers.process import find_free_port

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n%s\r\n{}"
CLOSE = b"connection: close\r\n"

Answer = Callable[[int, asyncio.StreamWriter], None]


class Instances:
    """What answers behind one address, connection by connection; the requests that arrived, whole."""

    def __init__(self, answer: Answer, port: int | None = None) -> None:
        self._answer = answer
        self.port = port or find_free_port()
        self.requests: list[bytes] = []
        self.connections = 0

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self.requests.append(head + await reader.readexactly(int(length or 0)))
            self._answer(number, writer)
            await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with await asyncio.start_server(self._handle, "127.0.0.1", self.port):
            yield


def one_of_three_is_bad(number: int, writer: asyncio.StreamWriter) -> None:
    if number % 3:
        writer.write(OK % CLOSE)


def good(number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(OK % CLOSE)


@contextlib.asynccontextmanager
async def house_before(port: int) -> AsyncIterator[House]:
    """A gateway whose registry, ingest and receipts are behind one address."""
    parts = build_parts()
    upstream = HttpUpstream(f"http://127.0.0.1:{port}")
    async with serve(parts["auth"]) as [auth]:
        upstreams = dict.fromkeys(("registry", "ingest", "receipts", "webhooks"), upstream)
        house = House(
            {**upstreams, "auth": HttpUpstream(f"http://127.0.0.1:{auth}")},
            parts,
            GatewaySettings(anonymous_requests_per_minute=10_000),
        )
        try:
            yield house
        finally:
            await house.close()
            for step in house.service.on_stop:
                await step()


def sample(name: str, port: int) -> float:
    value = REGISTRY.get_sample_value(f"llmring_upstream_{name}", {"upstream": f"127.0.0.1:{port}"})
    return value or 0.0


async def test_one_bad_instance_of_three_is_not_felt_by_those_who_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_upstream, "LASTING_S", 0.0)  # as though every failure came after a long silence
    instances = Instances(one_of_three_is_bad)
    async with instances.open(), house_before(instances.port) as house:
        for _ in range(30):
            assert (await house.ask("GET", "/registry")).status == 200
        assert sample("away", instances.port) == 0
    assert len(instances.requests) == 45


@pytest.mark.parametrize(
    ("path", "headers", "body", "is_repeated"),
    [
        ("/api/v1/log", [], LOG, False),
        ("/api/v1/log", [("Idempotency-Key", "k")], LOG, True),
        ("/api/v1/log", [("Idempotency-Key", "k"), ("Transfer-Encoding", "chunked")], LOG, True),
        ("/api/v1/log/batch", [("Idempotency-Key", "k")], LOG, False),
        ("/api/v1/receipts", [("Idempotency-Key", "k")], LOG, True),
        ("/api/v1/receipts/verify", [("Idempotency-Key", "k")], LOG, False),
    ],
    ids=["plain", "keyed", "chunked", "batch", "receipt", "verify"],
)
async def test_what_could_count_twice_is_not_sent_twice(
    path: str, headers: list[tuple[str, str]], body: bytes, is_repeated: bool
) -> None:
    instances = Instances(one_of_three_is_bad)
    async with instances.open(), house_before(instances.port) as house:
        key = ("X-API-Key", house.new_key())
        answer = await house.ask("POST", path, key, ("Content-Type", "application/json"), *headers, body=body)
    assert answer.status == (200 if is_repeated else 503)
    bodies = [request.partition(b"\r\n\r\n")[2] for request in instances.requests]
    assert bodies == [body] * (2 if is_repeated else 1)
    assert len({request.lower().partition(b"x-request-id: ")[2][:20] for request in instances.requests}) == 1


async def test_what_reached_nobody_is_sent_again_whatever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    connect: Any = aiohttp.TCPConnector.connect
    refused: list[Any] = []

    async def refuse_once(self: Any, request: Any, **rest: Any) -> Any:
        if not refused:
            refused.append(request)
            error = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
            raise aiohttp.ClientConnectorError(request.connection_key, error)
        return await connect(self, request, **rest)

    instances = Instances(good)
    async with instances.open(), house_before(instances.port) as house:
        key = house.new_key()
        await house.ask("GET", "/api/v1/stats", ("X-API-Key", key))
        monkeypatch.setattr(aiohttp.TCPConnector, "connect", refuse_once)
        assert (await house.post_log(key)).status == 200
    assert len(refused) == 1
    assert [request.partition(b"\r\n\r\n")[2] for request in instances.requests] == [b"", LOG]


async def test_the_circuit_opens_answers_at_once_and_closes_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_upstream, "LASTING_S", 0.2)
    bad = Instances(lambda number, writer: None)
    async with house_before(bad.port) as house:
        async with bad.open():
            async with asyncio.timeout(10):
                while not sample("away", bad.port):
                    assert (await house.ask("GET", "/registry")).status == 503
                    await asyncio.sleep(0.01)
            assert bad.connections >= http_upstream.FAILURES_IN_A_ROW
            asked = len([request for request in bad.requests if b"/registry" in request])
            began = time.monotonic()
            for _ in range(50):
                answer = await house.ask("GET", "/registry")
                assert (answer.status, answer.get("retry-after")) == (503, "2")
            assert time.monotonic() - began < 1
            assert len([request for request in bad.requests if b"/registry" in request]) == asked
            await until(lambda: any(b"/health/live" in request for request in bad.requests))
            assert sample("away", bad.port) == 1
        mended = Instances(good, bad.port)
        async with mended.open():
            await until(lambda: sample("away", bad.port) == 0)
            assert (await house.ask("GET", "/registry")).status == 200
        assert mended.requests[0].startswith(b"GET /health/live ")


async def partly(port: int, request: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()


async def test_clients_that_trickle_or_leave_open_no_circuit_and_hold_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_upstream, "LASTING_S", 0.0)
    instances = Instances(good)
    async with instances.open(), house_before(instances.port) as house, serve(house.app) as [port]:
        head = (
            b"POST /api/v1/receipts/verify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: 999999\r\n\r\n"
        )
        held = [
            await asyncio.open_connection("127.0.0.1", port) for _ in range(http_upstream.FAILURES_IN_A_ROW)
        ]
        for _, writer in held:
            writer.write(head + b"x" * 1000)
        await asyncio.sleep(0.1)
        assert instances.connections == 0
        leaving: list[Coroutine[Any, Any, None]] = [
            partly(port, head + b"x" * size)
            for size in (10, 100_000)
            for _ in range(2 * http_upstream.FAILURES_IN_A_ROW)
        ]
        await asyncio.gather(*leaving)
        for _, writer in held:
            writer.close()
        await until(lambda: instances.connections == 2 * http_upstream.FAILURES_IN_A_ROW)
        assert (await house.ask("GET", "/registry")).status == 200
        assert sample("away", instances.port) == 0
        assert sample("failures_total", instances.port) == 0


async def test_what_an_answer_names_as_its_connections_own_goes_no_further() -> None:
    def nominate(number: int, writer: asyncio.StreamWriter) -> None:
        extra = b"connection: close, X-Secret, content-type\r\nx-secret: s\r\nproxy-connection: x\r\n"
        writer.write(OK % extra)

    instances = Instances(nominate)
    async with instances.open(), house_before(instances.port) as house:
        answer = await house.ask("GET", "/registry")
    assert (answer.status, answer.get("content-type"), answer.body) == (200, "application/json", b"{}")
    assert answer.get("x-secret") is answer.get("connection") is answer.get("proxy-connection") is None
