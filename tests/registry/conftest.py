"""The registry service on a real Postgres, with the Postgres event log beside it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from services.registry.service import SCHEMA, build_registry
from services.registry.settings import RegistrySettings
from services.registry.snapshot import show_model
from shared.clock import FixedClock
from shared.contracts.keys import SCOPE_LOG, SCOPE_OPERATOR, Principal
from shared.contracts.registry import Model
from shared.contracts.topics import TOPICS
from shared.event_log.port import EventLog
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.event_log.postgres import open_postgres_event_log
from shared.postgres import Database, Schema, migrate, open_database
from shared.proofs.signing import SigningKey
from shared.runtime.service import Service
from shared.web.principal import PRINCIPAL_HEADER, PrincipalMint, PrincipalVerifier
from tests.pricing.price_card import CARD

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
_SEED = bytes(range(32))


@dataclass
class Running:
    """A started registry service and the ways to talk to it."""

    service: Service
    client: httpx.AsyncClient
    database: Database
    event_log: EventLog
    clock: FixedClock
    url: str

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """GET with headers; `_` stands for `-`."""
        return await self.client.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    async def publish(self, *models: Model | dict[str, Any], **fields: Any) -> httpx.Response:
        """Publish as an operator."""
        entries = [show_model(each) if isinstance(each, Model) else each for each in models]
        return await self.post(msgspec.json.encode({"models": entries, **fields}))

    async def post(self, body: bytes, scope: str = SCOPE_OPERATOR) -> httpx.Response:
        """POST a publish request as it is."""
        return await self.client.post(
            "/registry/versions", content=body, headers=[(PRINCIPAL_HEADER, self.token(scope))]
        )

    async def must_publish(self, *models: Model | dict[str, Any], **fields: Any) -> str:
        """Publish, and give the new version's name."""
        answer = await self.publish(*models, **fields)
        assert answer.status_code == 201, answer.text
        version: str = answer.json()["version"]
        return version

    def token(self, scope: str) -> bytes:
        """A principal token of that scope."""
        mint = PrincipalMint(SigningKey.from_seed(_SEED), self.clock)
        return mint.mint(Principal(account_id=uuid4(), key_id=uuid4(), scopes=(scope,)))

    async def versions(self) -> list[str]:
        """The names of all versions, newest first."""
        answer = await self.get("/registry/versions")
        return [each["version"] for each in answer.json()["versions"]]


def exact(answer: httpx.Response) -> Any:
    """The answer's JSON with exact numbers."""
    return msgspec.json.Decoder(float_hook=Decimal).decode(answer.content)


Start = Callable[..., Any]


@pytest.fixture
def postgres_schemas() -> tuple[Schema, ...]:
    return (SCHEMA, EVENT_LOG_SCHEMA)


@pytest.fixture
async def start(postgres_url: str) -> AsyncIterator[Start]:
    """Starts a registry on this test's database; a second call is a second process, or a restart."""
    async with AsyncExitStack() as stack:
        await migrate(postgres_url, [SCHEMA, EVENT_LOG_SCHEMA])

        async def start_one(*, seed: bool = False, recheck_s: float = 0.0, at: datetime = NOON) -> Running:
            clock = FixedClock(at)
            database = await open_database(postgres_url, application_name="registry-test", max_size=12)
            stack.push_async_callback(database.close)
            event_log = await open_postgres_event_log(postgres_url)
            stack.push_async_callback(event_log.close)
            await event_log.ensure_topics(TOPICS)
            service = build_registry(
                database=database,
                event_log=event_log,
                principals=PrincipalVerifier([SigningKey.from_seed(_SEED).public_key], clock),
                clock=clock,
                version="0",
                settings=RegistrySettings(seed_history=seed, recheck_s=recheck_s),
            )
            for step in service.on_start:
                await step()
            assert service.app is not None
            transport = httpx.ASGITransport(app=service.app, raise_app_exceptions=False)  # type: ignore[arg-type]  # two spellings of ASGI types
            client = httpx.AsyncClient(transport=transport, base_url="http://registry")
            stack.push_async_callback(client.aclose)
            return Running(service, client, database, event_log, clock, postgres_url)

        yield start_one


@pytest.fixture
async def registry(start: Start) -> Running:
    """An empty registry."""
    running: Running = await start()
    return running


@pytest.fixture
async def card(registry: Running) -> Running:
    """A registry with the price card of the pricing tests as its only version."""
    await registry.must_publish(*CARD.values())
    return registry


__all__ = ["SCOPE_LOG", "Running", "Start", "exact"]
