"""The webhooks service on a real database and event log, and the means to drive it step by step."""

import functools
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from services.webhooks.deliver import Deliverer
from services.webhooks.follow_accounts import build_account_taker
from services.webhooks.read_budgets import read_crossing
from services.webhooks.read_registry import RegistryReader
from services.webhooks.sealing_key import SealingKey
from services.webhooks.service import SCHEMA, Sources, build_outbound, build_webhooks
from services.webhooks.settings import WebhooksSettings
from services.webhooks.take import build_taker
from shared.clock import FixedClock
from shared.contracts.keys import Principal
from shared.contracts.topics import BUDGETS_CROSSED, REGISTRY_PUBLISHED, TOPICS, WEBHOOKS_CHANGED
from shared.errors import NotFoundError
from shared.event_log.outbox import Outbox
from shared.event_log.port import EventLog, Slice, StoredRecord
from shared.event_log.positions import PostgresPositions
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.event_log.postgres import open_postgres_event_log
from shared.event_log.take import Taker
from shared.postgres import Database, migrate, open_database
from shared.proofs.signing import SigningKey
from shared.runtime.service import Service
from shared.web.client import Answer, AsgiUpstream, HeaderList
from shared.web.guarded import GuardedOutbound
from shared.web.principal import PrincipalMint, PrincipalVerifier
from tests.receipts.event_log import read_all

A, B = UUID(int=0xA), UUID(int=0xB)
KEY = UUID(int=7)
GATEWAY = SigningKey.from_seed(bytes(32))


class ARegistry:
    """Tells what versions changed, as the registry service does."""

    def __init__(self) -> None:
        self.versions: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.failure: Exception | None = None

    def add(self, version: str, changes: list[dict[str, Any]], at: datetime) -> None:
        told = {
            "version": version,
            "generated_at": at.isoformat(),
            "effective_from": at.isoformat(),
            "base": None,
            "changes": changes,
            "provider_changes": [],
        }
        self.versions[version] = json.dumps(told).encode()

    async def call(self, method: str, path: str, *, headers: HeaderList = (), body: bytes = b"") -> Answer:
        self.asked.append(path)
        if self.failure is not None:
            raise self.failure
        version = path.removeprefix("/registry/v/").removesuffix("/changes.json")
        if version not in self.versions:
            raise NotFoundError("There is no such version.")
        return Answer(200, (), self.versions[version])


@dataclass
class House:
    """One process of the service."""

    database: Database
    event_log: EventLog
    clock: FixedClock
    registry: ARegistry
    service: Service
    takers: dict[str, Taker[Any]]
    deliverer: Deliverer
    settings: WebhooksSettings
    offsets: dict[str, int] = field(default_factory=dict)
    key_id: UUID = KEY

    async def call(
        self,
        method: str,
        path: str = "",
        body: object = None,
        *,
        account: UUID = A,
        scopes: tuple[str, ...] = ("read", "admin"),
    ) -> Any:
        """One request as the gateway would pass it on; a problem is raised as its typed error."""
        headers = [*self.principal(account, scopes).items(), (b"x-forwarded-for", b"198.51.100.7")]
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        assert self.service.app is not None
        answer = await AsgiUpstream(self.service.app).call(
            method, f"/api/v1/webhooks{path}", headers=headers, body=raw
        )
        return json.loads(answer.body) if answer.body else None

    def principal(self, account: UUID = A, scopes: tuple[str, ...] = ("read", "admin")) -> dict[bytes, bytes]:
        """What the gateway adds to a request of an account."""
        principal = Principal(account_id=account, key_id=self.key_id, scopes=scopes)
        return {b"x-llmring-principal": PrincipalMint(GATEWAY, self.clock).mint(principal)}

    async def register(self, url: str, *events: str, account: UUID = A) -> Any:
        return await self.call("POST", body={"url": url, "events": events}, account=account)

    async def send_test(self, endpoint: Any) -> str:
        """Send a `webhook.test`, and tell the message's id."""
        sent = await self.call("POST", f"/{endpoint['id']}/test")
        assert sent["type"] == "webhook.test"
        return str(sent["message_id"])

    async def look_at(self, endpoint: Any) -> Any:
        """The endpoint as it is now."""
        return await self.call("GET", f"/{endpoint['id']}")

    async def log(self, endpoint: Any, **query: Any) -> Any:
        """Deliveries to an endpoint, newest first."""
        text = "&".join(f"{name}={value}" for name, value in query.items())
        page = await self.call("GET", f"/{endpoint['id']}/deliveries?{text}")
        return page["deliveries"]

    async def told(self) -> list[dict[str, Any]]:
        """What the relay has told of changes, oldest first."""
        outbox = Outbox(self.database, self.event_log, self.clock, schema=SCHEMA.name, topic=WEBHOOKS_CHANGED)
        while await outbox.publish_left_over():
            pass
        return [json.loads(each.value or b"") for each in await read_all(self.event_log, WEBHOOKS_CHANGED)]

    async def take(self, *values: bytes, topic: str = REGISTRY_PUBLISHED) -> None:
        """Hand records to the consumer, as the event log would."""
        first = self.offsets.get(topic, 0)
        records = [
            StoredRecord(topic, 0, first + number, b"key", value, (), self.clock.now())
            for number, value in enumerate(values)
        ]
        await self.takers[topic].take(Slice(topic, 0, tuple(records), first))
        self.offsets[topic] = first + len(values)

    async def publish(self, version: str, *changes: dict[str, Any], at: datetime | None = None) -> None:
        """A version is published, and taken from the topic."""
        at = at or self.clock.now()
        self.registry.add(version, list(changes), at)
        await self.take(published(version, at))

    async def deliver(self) -> int:
        """Deliver everything that is due now, and say how much it was."""
        count = 0
        while started := await self.deliverer.start_due():
            count += started
            await self.deliverer.finish()
        return count

    def advance(self, **time: float) -> None:
        self.clock.at += timedelta(**time)


def published(version: str, at: datetime) -> bytes:
    """A value of `registry.published`."""
    event = {
        "v": 1,
        "version": version,
        "generated_at": at.isoformat(),
        "effective_from": at.isoformat(),
        "digest": "d",
    }
    return json.dumps(event).encode()


class Street:
    """Opens houses on one database, and closes them all."""

    def __init__(self, url: str, data_dir: Path, stack: AsyncExitStack) -> None:
        self.url = url
        self.data_dir = data_dir
        self.stack = stack

    async def open_house(
        self, *, outbound: GuardedOutbound | None = None, clock: FixedClock | None = None, **settings: Any
    ) -> House:
        """Start one more process of the service, its loops left to the test."""
        chosen = WebhooksSettings(**{"data_dir": str(self.data_dir), "allow_private": True} | settings)
        # The present: receivers refuse signatures that are older than some minutes.
        clock = clock or FixedClock(datetime.now(UTC))
        database = await open_database(self.url, application_name="test-webhooks")
        self.stack.push_async_callback(database.close)
        event_log = await open_postgres_event_log(self.url)
        self.stack.push_async_callback(event_log.close)
        await event_log.ensure_topics(TOPICS)
        registry = ARegistry()
        service = build_webhooks(
            database=database,
            principals=PrincipalVerifier([GATEWAY.public_key], clock),
            clock=clock,
            version="1",
            settings=chosen,
            sources=Sources(event_log, registry),  # type: ignore[arg-type]  # it is only called
        )
        for step in service.on_start:
            await step()
        for step in service.on_stop:
            self.stack.push_async_callback(step)
        sealing_key = SealingKey(database, chosen)
        await sealing_key.open()
        outbound = outbound or build_outbound(chosen)
        self.stack.push_async_callback(outbound.close)

        taker = functools.partial(
            build_taker,
            database=database,
            event_log=event_log,
            positions=PostgresPositions(database, SCHEMA.name),
            clock=clock,
        )
        takers: list[Taker[Any]] = [
            taker(REGISTRY_PUBLISHED, RegistryReader(database, registry, clock).read),  # type: ignore[arg-type]  # it is only called
            taker(BUDGETS_CROSSED, read_crossing),
            build_account_taker(database, event_log, PostgresPositions(database, SCHEMA.name), clock),
        ]
        return House(
            database=database,
            event_log=event_log,
            clock=clock,
            registry=registry,
            service=service,
            takers={each.topic: each for each in takers},
            deliverer=Deliverer(
                database=database,
                event_log=event_log,
                sealing_key=sealing_key,
                outbound=outbound,
                clock=clock,
                settings=chosen,
                version="1",
            ),
            settings=chosen,
        )


async def migrate_street(url: str) -> None:
    await migrate(url, [EVENT_LOG_SCHEMA, SCHEMA])
