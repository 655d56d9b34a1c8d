"""Ingest processes and raters on real servers.

The event log is in the same Postgres, but has its own way there: when a test cuts the way to the usage
tables, the event log is still there, as a Kafka would be.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from litestar.types import Message, Receive, Scope, Send
from litestar.types.asgi_types import ReceiveMessage

from services.ingest.claim_cache import ClaimCache
from services.ingest.elsewhere import SharedMarks
from services.ingest.quota_counter import QuotaCounter
from services.ingest.record import RATER, Recorder
from services.ingest.service import SCHEMA, build_ingest
from services.ingest.settings import IngestSettings
from services.ingest.shared_counter import SharedCounter
from shared.clock import FixedClock
from shared.contracts.keys import OWNED_PATH, OwnedKeys, OwnedQuestion, Principal
from shared.contracts.topics import TOPICS, USAGE_LOGGED
from shared.errors import UnavailableError
from shared.event_log.consumer import run_consumer
from shared.event_log.kafka import Brokers, open_kafka_event_log
from shared.event_log.port import EventLog, Position, Record
from shared.event_log.positions import PostgresPositions
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.event_log.postgres import open_postgres_event_log
from shared.postgres import Database, Row, migrate, open_database
from shared.proofs.signing import SigningKey
from shared.redis import Firsts, Marks, Redis, open_redis
from shared.runtime.service import Service
from shared.web.client import Answer, AsgiUpstream
from shared.web.principal import PRINCIPAL_HEADER, PrincipalMint, PrincipalVerifier
from tests.ingest.differences import LATENCY_DIFFERENCES, SUM_DIFFERENCES
from tests.ingest.prices import APricebook
from tests.receipts.event_log import FromTheStart

A, B = UUID(int=0xA), UUID(int=0xB)
KEY = UUID(int=7)
NOW = datetime(2031, 5, 3, 12, 0, tzinfo=UTC)
GATEWAY = SigningKey.from_seed(bytes(32))
PATIENT = timedelta(seconds=10)
"""For tests that are not about time: a busy machine is no outage."""
CALL = {"provider": "openai", "model": "m-1", "input_tokens": 1000, "output_tokens": 100}


class FalteringLog:
    """An event log of which the next appends to `usage.logged` fail: before they are stored, or after."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.fail_before = 0
        self.fail_after = 0
        self.is_deaf = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def ends(self, topic: str) -> dict[int, int]:
        if self.is_deaf:
            await asyncio.sleep(60)
        return await self._log.ends(topic)

    async def append(self, topic: str, records: Sequence[Record]) -> list[Position]:
        if topic == USAGE_LOGGED and self.fail_before:
            self.fail_before -= 1
            raise UnavailableError("The event log could not store the record in time.")
        positions = await self._log.append(topic, records)
        if topic == USAGE_LOGGED and self.fail_after:
            self.fail_after -= 1
            raise UnavailableError("The event log did not confirm the record in time.")
        return positions


class AnAuth:
    """Tells whose keys are whose, as the auth service does.

    Attributes:
        nobodys: keys of nobody; all others are whoever's is asked for.
        failure: raised in place of an answer.
    """

    def __init__(self) -> None:
        self.nobodys: set[UUID] = set()
        self.failure: Exception | None = None

    async def call(self, method: str, path: str, *, headers: object = (), body: bytes = b"") -> Answer:
        if self.failure is not None:
            raise self.failure
        assert (method, path) == ("POST", OWNED_PATH)
        asked = msgspec.json.decode(body, type=OwnedQuestion)
        return Answer(
            200,
            (),
            msgspec.json.encode(OwnedKeys([each for each in asked.key_ids if each not in self.nobodys])),
        )


@dataclass
class Ingest:
    """One ingest process; of its workers only the one that looks after idempotency keys."""

    database: Database
    service: Service
    clock: FixedClock
    pricebook: APricebook
    auth: AnAuth
    redis: Redis | None = None

    async def start(self) -> None:
        """What it does before its first request; may be repeated."""
        for step in self.service.on_start:
            await step()

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        account: UUID = A,
        quota: int | None = None,
        scopes: tuple[str, ...] = ("log", "read", "admin"),
        key_id: UUID = KEY,
    ) -> Answer:
        """One request as the gateway would pass it on; a problem is raised as its typed error."""
        principal = Principal(account_id=account, key_id=key_id, scopes=scopes, logs_per_month=quota)
        headers = [
            (b"content-type", b"application/json"),
            (PRINCIPAL_HEADER, PrincipalMint(GATEWAY, self.clock).mint(principal)),
        ]
        if key is not None:
            headers.append((b"idempotency-key", key.encode()))
        raw = b"" if body is None else json.dumps(body).encode()
        return await AsgiUpstream(self._answer).call(method, path, headers=headers, body=raw)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application see that its caller leaves once it is answered: a stream waits for that."""
        answered = asyncio.Event()
        asked = False

        async def receive_or_leave() -> ReceiveMessage:
            nonlocal asked
            if asked:
                await answered.wait()
                return {"type": "http.disconnect"}
            asked = True
            return await receive()

        async def note_end(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message["more_body"]:
                answered.set()

        assert self.service.app is not None
        await self.service.app(scope, receive_or_leave, note_end)

    async def log(self, key: str | None = None, *, account: UUID = A, **changes: Any) -> bytes:
        """The answer to a record."""
        return (await self.call("POST", "/api/v1/log", CALL | changes, key=key, account=account)).body

    async def figures(self, account: UUID = A) -> tuple[int, bool]:
        """Requests counted, and whether those are all."""
        stats = await self.stats(account)
        return stats["total_requests"], stats["complete"]

    async def settle(self, count: int, account: UUID = A) -> None:
        """Wait until so many requests are counted, and are all."""
        async with asyncio.timeout(20):
            while await self.figures(account) != (count, True):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)

    async def stats(self, account: UUID = A) -> dict[str, Any]:
        """The account's statistics."""
        found = await self.call(
            "GET", "/api/v1/stats?start_date=2031-05-01&end_date=2031-05-31", account=account
        )
        answer: dict[str, Any] = json.loads(found.body)
        return answer


async def _end(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    stop.set()
    await task


class Street:
    """Opens processes on one usage database and one event log, and closes them all."""

    def __init__(self, database_url: str, event_log: EventLog, stack: AsyncExitStack) -> None:
        self.database_url = database_url
        self.event_log = event_log
        self._stack = stack

    async def open_database(self, url: str | None = None) -> Database:
        """One more pool on the usage database."""
        database = await open_database(url or self.database_url, application_name="test", min_size=0)
        self._stack.push_async_callback(database.close)
        return database

    async def open_redis(self, url: str, time_limit: timedelta) -> Redis:
        """One more client."""
        redis = await open_redis(url, time_limit=time_limit)
        self._stack.push_async_callback(redis.close)
        return redis

    async def open_ingest(
        self,
        *,
        url: str | None = None,
        redis_url: str | None = None,
        claim_cache: ClaimCache | None = None,
        marks: SharedMarks | None = None,
        event_log: EventLog | None = None,
        at: datetime = NOW,
        redis_limit: timedelta = PATIENT,
        quota_counter: QuotaCounter | None = None,
        **settings: int,
    ) -> Ingest:
        """One more ingest process; with `redis_url` it shares claims and marks there."""
        database = await self.open_database(url)
        redis = None
        if redis_url is not None:
            redis = await self.open_redis(redis_url, redis_limit)
            claim_cache = Firsts(redis, "test:claim:", timedelta(hours=24))
            marks = Marks(redis, "test:mark:", timedelta(seconds=settings.get("watermark_s", 60)))
            quota_counter = SharedCounter(redis, "test:quota:")
        clock, pricebook, auth = FixedClock(at), APricebook(), AnAuth()
        service = build_ingest(
            database=database,
            event_log=event_log or self.event_log,
            pricebook=pricebook,  # type: ignore[arg-type]  # stands in its place
            principals=PrincipalVerifier([GATEWAY.public_key], clock),
            clock=clock,
            version="1",
            auth=auth,  # type: ignore[arg-type]  # it is only called
            alone=True,
            claim_cache=claim_cache,
            marks=marks,
            quota_counter=quota_counter,
            budget_clock=clock,
            settings=IngestSettings(**{"quota_wait_ms": 10_000, **settings}),
        )
        ingest = Ingest(database, service, clock, pricebook, auth, redis)
        await ingest.start()
        stop = asyncio.Event()
        for worker in service.workers:
            if worker.name == "claim-memory":
                task = asyncio.create_task(worker.run(stop))
                self._stack.push_async_callback(_end, task, stop)
        return ingest

    async def open_recorder(self, url: str | None = None) -> Recorder:
        """What a rater does with a slice."""
        database = await self.open_database(url)
        return Recorder(
            database=database,
            event_log=self.event_log,
            positions=PostgresPositions(database, SCHEMA.name),
            pricebook=APricebook(),  # type: ignore[arg-type]  # stands in its place
            watermark=None,
            clock=FixedClock(NOW),
            follow_records=True,
        )

    @asynccontextmanager
    async def rating(self, url: str | None = None) -> AsyncIterator[None]:
        """A rater at work."""
        recorder = await self.open_recorder(url)
        positions = PostgresPositions(await self.open_database(url), SCHEMA.name)
        stop = asyncio.Event()
        task = asyncio.create_task(
            run_consumer(
                self.event_log, RATER, USAGE_LOGGED, positions, recorder.record, stop=stop, max_records=100
            )
        )
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(20):
                await task

    async def rate_all(self) -> None:
        """Have everything rated that was accepted until now."""
        positions = PostgresPositions(await self.open_database(), SCHEMA.name)
        ends = await self.event_log.ends(USAGE_LOGGED)
        async with self.rating(), asyncio.timeout(20):
            while True:
                applied = await positions.load(RATER, USAGE_LOGGED, list(ends))
                if all(applied.get(partition, 0) >= end for partition, end in ends.items()):
                    return
                await asyncio.sleep(0.02)

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Look into the usage database."""
        database = await self.open_database()
        async with database.connection() as connection:
            return await connection.fetch(statement, *arguments)

    async def assert_rollups_add_up(self) -> None:
        """Both rollups say what the rows add up to, to the last digit."""
        for grain, unit in (("d", "1 day"), ("q", "15 minutes")):
            differing = await self.fetch(SUM_DIFFERENCES, grain.encode(), unit)
            assert [dict(row.items()) for row in differing] == []
        assert [dict(row.items()) for row in await self.fetch(LATENCY_DIFFERENCES)] == []

    async def rows(self) -> Sequence[Row]:
        """The stored records."""
        return await self.fetch("SELECT log_id, occurred_at, output_tokens FROM usage.logs ORDER BY 2, 1")

    async def logged(self, topic: str = USAGE_LOGGED) -> list[bytes]:
        """The values of everything in a topic."""
        count = sum((await self.event_log.ends(topic)).values())
        found: list[bytes] = []
        async with self.event_log.subscribe(f"reader-{topic}", topic, FromTheStart()) as subscription:
            while len(found) < count:
                for part in await subscription.read(max_records=1000, max_wait=timedelta(seconds=1)):
                    found += [record.value or b"" for record in part.records]
        return found


@asynccontextmanager
async def open_street(database_url: str, kafka: str | None = None) -> AsyncIterator[Street]:
    """A street with its tables made, and its event log in Postgres or on Kafka."""
    await migrate(database_url, [SCHEMA, EVENT_LOG_SCHEMA])
    async with AsyncExitStack() as stack:
        event_log: EventLog = (
            await open_postgres_event_log(database_url)
            if kafka is None
            else await open_kafka_event_log(Brokers(kafka))
        )
        stack.push_async_callback(event_log.close)
        await event_log.ensure_topics(TOPICS)
        yield Street(database_url, event_log, stack)
