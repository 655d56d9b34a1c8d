"""One gateway, in front of services in this process, and the same over HTTP behind real servers."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.gateway.service import build_gateway
from services.gateway.settings import GatewaySettings
from shared.clock import FixedClock
from shared.limits.memory import MemoryRateLimiter
from shared.proofs.signing import SigningKey
from shared.web.client import AsgiUpstream, Upstream
from shared.web.http_upstream import HttpUpstream
from shared.web.principal import PrincipalMint, PrincipalVerifier
from tests.gateway.streets import FakeAuth, FaultyLog, Recorder, serve, until
from tests.gateway.visitor import Answer, ask

T0 = datetime.fromtimestamp(1_800_000_000, UTC)
LOG = b'{"model":"gpt-4o-mini","provider":"openai","input_tokens":10}'


class House:
    """The gateway and what stands around it."""

    def __init__(self, upstreams: Any, parts: Any, settings: GatewaySettings, pings: Any = None) -> None:
        self.clock: FixedClock = parts["clock"]
        self.auth: FakeAuth = parts["auth"]
        self.log: FaultyLog = parts["log"]
        self.principals: PrincipalVerifier = parts["principals"]
        self.services: dict[str, Recorder] = parts["services"]
        self.address_limiter = MemoryRateLimiter()
        self.service = build_gateway(
            upstreams=upstreams,
            mint=PrincipalMint(parts["signing_key"], self.clock),
            event_log=self.log,  # type: ignore[arg-type]
            key_limiter=MemoryRateLimiter(),
            address_limiter=self.address_limiter,
            clock=self.clock,
            settings=settings,
            version="1.2.3",
            pings=pings,
        )
        self.app: Any = self.service.app
        self._stop = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def ask(self, method: str, target: str, *headers: tuple[str, str], **options: Any) -> Answer:
        return await ask(self.app, method, target, list(headers), **options)

    async def post_log(self, key: str, **options: Any) -> Answer:
        headers = [("X-API-Key", key), ("Content-Type", "application/json")]
        return await self.ask("POST", "/api/v1/log", *headers, **{"body": LOG, **options})

    def new_key(self, **fields: Any) -> str:
        plain = new_plain()
        self.auth.add(plain, **fields)
        return plain

    def tick(self, seconds: float) -> None:
        self.clock.at += timedelta(seconds=seconds)

    def at(self, seconds: float) -> None:
        self.clock.at = T0 + timedelta(seconds=seconds)

    async def follow(self) -> None:
        """Start following keys.changed, and wait until it is followed."""
        opened = self.log.opened
        self._watch = asyncio.create_task(self.service.workers[0].run(self._stop))
        await until(lambda: self.log.opened > opened)
        await asyncio.sleep(0.01)

    async def close(self) -> None:
        self._stop.set()
        if self._watch is not None:
            await asyncio.wait_for(self._watch, 5)
        for step in self.service.on_stop:
            await step()


def new_plain() -> str:
    return "llmr_pk_" + secrets.token_hex(24)


def build_parts() -> dict[str, Any]:
    clock = FixedClock(T0)
    signing_key = SigningKey.from_seed(secrets.token_bytes(32))
    principals = PrincipalVerifier([signing_key.public_key], clock)
    auth = FakeAuth(principals)
    services = {name: Recorder(name) for name in ("registry", "ingest", "receipts", "webhooks")} | {
        "auth": auth
    }
    return {
        "clock": clock,
        "signing_key": signing_key,
        "principals": principals,
        "auth": auth,
        "services": services,
        "log": FaultyLog(),
    }


@contextlib.asynccontextmanager
async def open_house(
    mode: str = "in_process", settings: GatewaySettings | None = None
) -> AsyncIterator[House]:
    parts = build_parts()
    async with contextlib.AsyncExitStack() as stack:
        services: dict[str, Recorder] = parts["services"]
        upstreams: dict[str, Upstream]
        if mode == "in_process":
            upstreams = {name: AsgiUpstream(service) for name, service in services.items()}
        else:
            ports = await stack.enter_async_context(serve(*services.values()))
            urls = [f"http://127.0.0.1:{port}" for port in ports]
            upstreams = {name: HttpUpstream(url) for name, url in zip(services, urls, strict=True)}
        house = House(upstreams, parts, settings or GatewaySettings())
        stack.push_async_callback(house.close)
        yield house


@pytest.fixture(params=["in_process", "over_http"])
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    async with open_house(request.param) as opened:
        yield opened


@pytest.fixture
async def local_house() -> AsyncIterator[House]:
    async with open_house() as opened:
        yield opened
