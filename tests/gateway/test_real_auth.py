"""Three gateways, the real auth service and the real event log on Postgres: case P12, from end to end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from services.auth.operator import ensure_operator
from services.gateway.service import build_gateway
from services.gateway.settings import GatewaySettings
from shared.event_log.port import EventLog
from shared.event_log.postgres import open_postgres_event_log
from shared.limits.memory import MemoryRateLimiter
from shared.web.client import AsgiUpstream
from tests.auth.conftest import PASSWORD, Auth, open_auth
from tests.gateway.conftest import LOG
from tests.gateway.streets import Recorder
from tests.gateway.visitor import Answer, ask

EMPTY: set[Any] = set()
COOKIE = "__Host-llmring_session"
JSON = ("Content-Type", "application/json")


@dataclass
class Gateway:
    app: Any
    ingest: Recorder

    async def log(self, key: str) -> Answer:
        return await ask(self.app, "POST", "/api/v1/log", [JSON, ("X-API-Key", key)], LOG)


@contextlib.asynccontextmanager
async def open_gateway(auth: Auth, event_log: EventLog) -> AsyncIterator[Gateway]:
    services = {name: Recorder(name) for name in ("registry", "ingest", "receipts", "webhooks")}
    upstreams = {name: AsgiUpstream(service) for name, service in services.items()}
    service = build_gateway(
        upstreams={**upstreams, "auth": AsgiUpstream(auth.service.app)},  # type: ignore[arg-type]
        mint=auth.mint,
        event_log=event_log,
        key_limiter=MemoryRateLimiter(),
        address_limiter=MemoryRateLimiter(),
        clock=auth.clock,
        settings=GatewaySettings(public_url="https://api.example.test/"),
        version="1",
    )
    stop = asyncio.Event()
    watch = asyncio.create_task(service.workers[0].run(stop))
    try:
        yield Gateway(service.app, services["ingest"])
    finally:
        stop.set()
        await asyncio.wait_for(watch, 5)


class Wire:
    """The network between the gateways and their event log, which can be cut at any moment."""

    def __init__(self, postgres_url: str) -> None:
        self._url = urlsplit(postgres_url)
        self._ends: set[asyncio.StreamWriter] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield self._url._replace(netloc=f"{self._url.username}@127.0.0.1:{port}").geturl()
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        ends = {writer, far_writer}
        self._ends |= ends
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._ends -= ends


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@dataclass
class Deployment:
    auth: Auth
    gateways: tuple[Gateway, ...]
    operator_key: str
    wire: "Wire"

    async def register(self, email: str) -> tuple[str, str]:
        body = f'{{"email":"{email}","password":"{PASSWORD}"}}'.encode()
        answer = await ask(self.gateways[0].app, "POST", "/api/v1/register", [JSON], body)
        assert answer.status == 201, answer.body
        return answer.json["api_key"], answer.json["account_id"]

    async def becomes(
        self, wanted: set[Any], key: str, header: str = "", *, seconds: float = 1, but_for: set[Any] = EMPTY
    ) -> None:
        """Wait until every gateway answers as wanted to a key, in real time and by the clock."""
        began_at, now_at = time.monotonic(), self.auth.clock.at
        while True:
            self.auth.clock.at = now_at + timedelta(seconds=time.monotonic() - began_at)
            answers = [await gateway.log(key) for gateway in self.gateways]
            seen = {answer.get(header) if header else answer.status for answer in answers}
            if seen - but_for <= wanted:
                return
            assert time.monotonic() - began_at < seconds, f"{seen} for {seconds} s"
            await asyncio.sleep(0.005)

    async def keys(self, key: str, method: str, path: str, body: bytes = b"") -> Any:
        headers = [JSON, ("X-API-Key", key)]
        answer = await ask(self.gateways[0].app, method, f"/api/v1/keys{path}", headers, body)
        assert answer.status in (200, 201, 204), answer.body
        return answer.json if answer.body else None

    async def change(self, account_id: str, body: bytes) -> Answer:
        headers = [JSON, ("Authorization", f"Bearer {self.operator_key}")]
        path = f"/api/v1/admin/accounts/{account_id}"
        return await ask(self.gateways[0].app, "PATCH", path, headers, body)


@pytest.fixture
async def deployment(postgres_url: str) -> AsyncIterator[Deployment]:
    async with contextlib.AsyncExitStack() as stack:
        auth = await stack.enter_async_context(open_auth(postgres_url))
        gateways = []
        wire = Wire(postgres_url)
        url = await stack.enter_async_context(wire.open())
        for _ in range(3):
            log = await open_postgres_event_log(url)
            stack.push_async_callback(log.close)
            gateways.append(await stack.enter_async_context(open_gateway(auth, log)))
        operator_key = await ensure_operator(auth.database, auth.clock)
        assert operator_key is not None
        await asyncio.sleep(0.3)  # all tails are open
        yield Deployment(auth, tuple(gateways), operator_key, wire)


async def test_a_suspended_accounts_keys_are_dead_on_every_gateway_within_a_second(
    deployment: Deployment,
) -> None:
    key, account_id = await deployment.register("nora@example.test")
    await deployment.change(account_id, b'{"requests_per_minute":null}')
    await deployment.becomes({200}, key)
    assert (await deployment.change(account_id, b'{"suspended":true}')).status == 200
    await deployment.becomes({401}, key)
    answers = await asyncio.gather(*(g.log(key) for g in deployment.gateways for _ in range(50)))
    assert {answer.status for answer in answers} <= {401, 429}
    assert (await deployment.change(account_id, b'{"suspended":false}')).status == 200
    await deployment.becomes({200}, key)


async def test_a_revoked_key_is_dead_on_every_gateway_within_a_second_and_a_rotated_one_goes_on(
    deployment: Deployment,
) -> None:
    """Case P12: revoked on one gateway, refused by all; rotated, it lives on for the grace."""
    first, account_id = await deployment.register("nora@example.test")
    await deployment.change(account_id, b'{"requests_per_minute":null}')
    made = await deployment.keys(first, "POST", "", b'{"scopes":["log","admin"]}')
    key, path = made["api_key"], f"/{made['key']['id']}"
    await deployment.becomes({200}, key)
    rotated = await deployment.keys(first, "POST", f"{path}/rotate", b'{"grace_seconds":60}')
    await deployment.becomes({200}, rotated["api_key"])
    await deployment.becomes({200}, key)
    began_at = deployment.auth.clock.at
    deployment.auth.clock.at = began_at + timedelta(seconds=60)
    await deployment.becomes({401}, key)
    await deployment.becomes({200}, rotated["api_key"])
    # It gives itself up, through a gateway that the others know nothing of.
    await deployment.keys(rotated["api_key"], "DELETE", f"/{rotated['key']['id']}")
    await deployment.becomes({401}, rotated["api_key"], but_for={429})
    answers = await asyncio.gather(
        *(g.log(rotated["api_key"]) for g in deployment.gateways for _ in range(50))
    )
    assert {answer.status for answer in answers} <= {401, 429}
    await deployment.becomes({200}, first)


async def test_a_new_tier_is_seen_by_every_gateway_within_a_second(deployment: Deployment) -> None:
    key, account_id = await deployment.register("olaf@example.test")
    await deployment.becomes({"60"}, key, "x-ratelimit-limit")
    assert (await deployment.change(account_id, b'{"tier":"pro"}')).status == 200
    await deployment.becomes({"1000"}, key, "x-ratelimit-limit")


async def test_no_key_lives_on_while_connections_to_the_log_are_cut(deployment: Deployment) -> None:
    key, account_id = await deployment.register("pia@example.test")
    await deployment.change(account_id, b'{"requests_per_minute":null}')
    await deployment.becomes({200}, key)
    for _ in range(3):
        deployment.wire.cut()
        assert (await deployment.change(account_id, b'{"suspended":true}')).status == 200
        await deployment.becomes({401}, key, but_for={429})
        assert (await deployment.change(account_id, b'{"suspended":false}')).status == 200
        deployment.auth.clock.at += timedelta(minutes=2)  # bad keys are forgiven
        await deployment.becomes({200}, key, seconds=10)


async def test_sessions_end_on_every_gateway_within_a_second(deployment: Deployment) -> None:
    """Case P17."""
    await deployment.register("quin@example.test")
    planted = "A" * 43
    sessions = []
    for _ in range(2):
        body = f'{{"email":"quin@example.test","password":"{PASSWORD}"}}'.encode()
        headers = [JSON, ("Cookie", f"llmring_session={planted}")]
        answer = await ask(deployment.gateways[0].app, "POST", "/api/v1/login", headers, body)
        assert answer.status == 200
        cookie = answer.get("set-cookie") or ""
        sessions.append(cookie.partition(";")[0].partition("=")[2])
    assert len({*sessions, planted}) == 3

    async def me(token: str) -> set[int]:
        headers = [("Cookie", f"{COOKIE}={token}")]
        answers = [await ask(each.app, "GET", "/api/v1/auth/me", headers) for each in deployment.gateways]
        return {answer.status for answer in answers}

    assert await me(sessions[0]) == await me(sessions[1]) == {200}
    assert await me(planted) == {401}
    cross = [("Cookie", f"{COOKIE}={sessions[0]}"), ("Origin", "https://evil.test")]
    for path in ("/api/v1/auth/logout", "/api/v1/auth/regenerate-api-key"):
        assert (await ask(deployment.gateways[1].app, "POST", path, cross)).status == 403
    own = [("Cookie", f"{COOKIE}={sessions[0]}"), ("Origin", "https://api.example.test")]
    assert (await ask(deployment.gateways[0].app, "POST", "/api/v1/auth/logout", own)).status == 204
    async with asyncio.timeout(1):
        while await me(sessions[0]) != {401}:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.005)
    assert await me(sessions[1]) == {200}


async def test_a_password_reset_ends_sessions_on_every_gateway_and_leaves_keys(
    deployment: Deployment,
) -> None:
    """Case P17."""
    key, _ = await deployment.register("rita@example.test")
    auth = deployment.auth
    sessions = [await auth.open_session("rita@example.test") for _ in range(2)]

    async def seen() -> set[int]:
        answers = [
            await ask(each.app, "GET", "/api/v1/auth/me", [("Cookie", f"{COOKIE}={token}")])
            for each in deployment.gateways
            for token in sessions
        ]
        return {answer.status for answer in answers}

    assert await seen() == {200}
    token = await auth.get_reset_token("rita@example.test")
    body = f'{{"token":"{token}","new_password":"another horse battery"}}'.encode()
    path = "/api/v1/password-reset/confirm"
    assert (await ask(deployment.gateways[0].app, "POST", path, [JSON], body)).status == 200
    async with asyncio.timeout(1):
        while await seen() != {401}:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.005)
    await deployment.becomes({200}, key)


async def test_an_operators_path_takes_no_customers_key(deployment: Deployment) -> None:
    key, account_id = await deployment.register("zoe@example.test")
    path = f"/api/v1/admin/accounts/{account_id}"
    app = deployment.gateways[0].app
    assert (await ask(app, "GET", path, [("X-API-Key", key)])).status == 403
    assert (await ask(app, "GET", path, [("X-API-Key", deployment.operator_key)])).status == 200
    assert (await ask(app, "GET", path)).status == 401


async def test_whoever_tries_too_often_is_told_of_no_limit_that_would_let_them_in(
    deployment: Deployment,
) -> None:
    await deployment.register("nora@example.test")
    body = b'{"email":"nora@example.test","password":"not the right one"}'
    app = deployment.gateways[0].app
    answers = [await ask(app, "POST", "/api/v1/login", [JSON], body) for _ in range(11)]
    assert [answer.status for answer in answers] == [401] * 10 + [429]
    assert answers[9].get("x-ratelimit-limit") == "60"
    told = [answers[10].get(name) for name in ("retry-after", "x-ratelimit-limit", "x-ratelimit-remaining")]
    assert told == ["60", "10", "0"]
    assert "r=0" in (answers[10].get("ratelimit") or "")
