"""Two gateways, the real auth service and two providers of logins; a browser that keeps cookies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from services.auth.service import SCHEMA
from services.gateway.service import build_gateway
from services.gateway.settings import GatewaySettings
from shared.clock import FixedClock
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.limits.memory import MemoryRateLimiter
from shared.postgres import Schema
from shared.web.client import AsgiUpstream
from tests.auth.conftest import PASSWORD, SETTINGS, T0, Auth, open_auth
from tests.gateway.streets import Recorder
from tests.gateway.visitor import Answer, ask
from tests.oauth.providers import Providers, open_providers

SESSION = "__Host-llmring_session"
ORIGIN = "https://api.example.test"
RETRIEVE = "/api/v1/auth/retrieve-api-key"
JSON = ("Content-Type", "application/json")


@dataclass
class Browser:
    """Keeps the cookies of one person, and holds each new one against what it must be."""

    app: Any
    cookies: dict[str, str] = field(default_factory=dict)
    peer: str = "198.51.100.7"

    async def get(self, target: str, *headers: tuple[str, str], method: str = "GET") -> Answer:
        sent = [*headers]
        if self.cookies:
            sent.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        answer = await ask(self.app, method, target, sent, peer=self.peer)
        for line in answer.all("set-cookie"):
            self._keep(line)
        return answer

    async def post(self, target: str, *headers: tuple[str, str]) -> Answer:
        return await self.get(target, ("Origin", ORIGIN), *headers, method="POST")

    def _keep(self, line: str) -> None:
        pair, *flags = line.split("; ")
        name, _, value = pair.partition("=")
        assert name.startswith("__Host-llmring_")
        lower = {flag.lower() for flag in flags}
        assert {"path=/", "httponly", "secure", "samesite=lax"} <= lower, line
        assert not any(flag.startswith("domain") for flag in lower)
        if "max-age=0" in lower:
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value

    @property
    def session(self) -> str | None:
        return self.cookies.get(SESSION)


@dataclass
class Street:
    auth: Auth
    gateways: tuple[Any, Any]
    providers: Providers

    @property
    def clock(self) -> FixedClock:
        return self.auth.clock

    def browser(self, gateway: int = 0, peer: str = "198.51.100.7") -> Browser:
        return Browser(self.gateways[gateway], peer=peer)

    async def begin(self, browser: Browser, provider: str = "google", return_to: str | None = None) -> str:
        """Where the browser is sent."""
        query = "" if return_to is None else "?" + urlencode({"return_to": return_to})
        answer = await browser.get(f"/api/v1/auth/login/{provider}{query}")
        assert (answer.status, answer.body) == (302, b"")
        location = answer.get("location")
        assert location is not None
        return location

    async def come_back(self, browser: Browser, query: dict[str, str], provider: str = "google") -> Answer:
        return await browser.get(f"/api/v1/auth/callback/{provider}?{urlencode(query)}")

    async def log_in(
        self,
        browser: Browser,
        person: dict[str, Any],
        provider: str = "google",
        return_to: str | None = None,
    ) -> Answer:
        location = await self.begin(browser, provider, return_to)
        return await self.come_back(browser, self.providers.agree(location, person), provider)

    async def enter(self, person: dict[str, Any], provider: str = "google") -> Browser:
        """Log in with a new browser; it works."""
        browser = self.browser()
        answer = await self.log_in(browser, person, provider)
        assert (answer.status, answer.get("location")) == (302, "/login"), answer.body
        assert browser.session is not None
        assert list(browser.cookies) == [SESSION], "the login's own cookie is still there"
        return browser

    async def account_of(self, browser: Browser) -> dict[str, Any]:
        answer = await browser.get("/api/v1/auth/me")
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json
        return found

    async def post_json(self, path: str, body: Any) -> Answer:
        return await ask(self.gateways[0], "POST", path, [JSON], msgspec.json.encode(body))

    async def register(self, email: str) -> tuple[str, str]:
        """An account with a password; its id and first key."""
        answer = await self.post_json("/api/v1/register", {"email": email, "password": PASSWORD})
        assert answer.status == 201, answer.body
        return answer.json["account_id"], answer.json["api_key"]

    async def key_status(self, key: str) -> int:
        return (await ask(self.gateways[0], "GET", "/api/v1/keys", [("X-API-Key", key)])).status

    async def mark_verified(self, account_id: str) -> None:
        async with self.auth.database.connection() as connection:
            await connection.execute(
                "UPDATE auth.accounts SET email_verified_at = now() WHERE account_id = $1", account_id
            )


@contextlib.asynccontextmanager
async def open_gateway(auth: Auth) -> AsyncIterator[Any]:
    service = build_gateway(
        upstreams={
            **{name: AsgiUpstream(Recorder(name)) for name in ("registry", "ingest", "receipts", "webhooks")},
            "auth": AsgiUpstream(auth.service.app),  # type: ignore[arg-type]
        },
        mint=auth.mint,
        event_log=auth.log,
        key_limiter=MemoryRateLimiter(),
        address_limiter=MemoryRateLimiter(),
        clock=auth.clock,
        settings=GatewaySettings(public_url=ORIGIN, anonymous_requests_per_minute=1000),
        version="1",
    )
    stop = asyncio.Event()
    watch = asyncio.create_task(service.workers[0].run(stop))
    yield service.app
    stop.set()
    await asyncio.wait_for(watch, 5)


@pytest.fixture
def postgres_schemas() -> tuple[Schema, ...]:
    return (SCHEMA, EVENT_LOG_SCHEMA)


@pytest.fixture
async def street(postgres_url: str) -> AsyncIterator[Street]:
    async with contextlib.AsyncExitStack() as stack:
        providers = await stack.enter_async_context(open_providers(FixedClock(T0)))
        settings = msgspec.structs.replace(SETTINGS, google=providers.google, github=providers.github)
        auth = await stack.enter_async_context(open_auth(postgres_url, settings=settings))
        providers.clock = auth.clock
        gateways = [await stack.enter_async_context(open_gateway(auth)) for _ in range(2)]
        yield Street(auth, (gateways[0], gateways[1]), providers)
