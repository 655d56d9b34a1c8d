"""A rater and an issuer at work on a real database and a real event log, and the means to feed them."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from services.all_in_one import SCHEMAS
from services.audit.findings import Findings
from services.audit.verify import Verification
from services.ingest import service as ingest
from services.ingest.record import RATER, Recorder
from services.receipts import service as receipts
from services.receipts.issue import GROUP as ISSUER
from services.receipts.issue import Issuer
from services.receipts.log import ReceiptLog
from services.receipts.settings import ReceiptsSettings
from services.receipts.signer import Signer
from shared.clock import FixedClock
from shared.contracts.topics import TOPICS, USAGE_LOGGED, USAGE_RATED
from shared.contracts.usage import CostLine, UsageLogged
from shared.errors import NotFoundError
from shared.event_log.consumer import run_consumer
from shared.event_log.port import EventLog, Position, Record
from shared.event_log.positions import PostgresPositions
from shared.ids import uuid7
from shared.postgres import Database, Row, migrate, open_database
from tests.event_log.servers import open_log_at, prepare_log
from tests.ingest.prices import APricebook

NOW = datetime(2031, 5, 3, 12, 0, tzinfo=UTC)
A, B, C = UUID(int=0xA), UUID(int=0xB), UUID(int=0xC)
_encoder = msgspec.json.Encoder()


class ALimitedPricebook(APricebook):
    """A pricebook that some versions are missing from."""

    def __init__(self) -> None:
        self.missing: set[str] = set()

    async def edition(self, version: str) -> APricebook:
        if version in self.missing:
            raise NotFoundError("There is no such version.")
        return await super().edition(version)


def an_event(number: int = 0, account_id: UUID = A, **changes: Any) -> UsageLogged:
    """An accepted record at the prices of `APricebook`: $1 a million tokens in, $2 out."""
    input_tokens, output_tokens = 1_000 + number, 100 + number % 7
    cost = (input_tokens + 2 * output_tokens) / 1_000_000
    exact = f"{cost:.6f}".rstrip("0").rstrip(".")
    fields: dict[str, Any] = {
        "log_id": uuid7(),
        "account_id": account_id,
        "key_id": UUID(int=7),
        "occurred_at": NOW - timedelta(minutes=7 * number),
        "received_at": NOW,
        "provider": "openai",
        "model": f"m-{number % 3}",
        "model_key": f"openai:m-{number % 3}",
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "alias": (None, "fast", "résumé")[number % 3],
        "origin": (None, "web")[number % 2],
        "latency_ms": None if number % 5 == 4 else 40 * number,
        "calculated_cost": exact,
        "calculated_status": "priced",
        "cost": exact,
        "cost_status": "priced",
        "registry_version": "2031.05.01",
        "cost_breakdown": [
            CostLine("input", input_tokens, "1", _usd(input_tokens)),
            CostLine("output", output_tokens, "2", _usd(2 * output_tokens)),
        ],
    }
    return UsageLogged(**fields | changes)


def _usd(millionths: int) -> str:
    return f"{millionths / 1_000_000:.6f}".rstrip("0").rstrip(".")


def a_record(value: UsageLogged | bytes, key: UUID = A) -> Record:
    """What ingest appends for an event, or what a foreign producer would."""
    if isinstance(value, bytes):
        return Record(str(key).encode(), value)
    return Record(str(value.account_id).encode(), _encoder.encode(value))


class Printed(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


@dataclass
class Works:
    """One deployment's consumers, which work only when they are told to."""

    kind: str
    address: str
    database: Database
    event_log: EventLog
    recorder: Recorder
    issuer: Issuer
    pricebook: ALimitedPricebook

    @property
    def rater_positions(self) -> PostgresPositions:
        return PostgresPositions(self.database, ingest.SCHEMA.name)

    @property
    def issuer_positions(self) -> PostgresPositions:
        return PostgresPositions(self.database, receipts.SCHEMA.name)

    async def accept(self, *values: UsageLogged | bytes, key: UUID = A) -> list[Position]:
        """Append to `usage.logged`."""
        return await self.event_log.append(USAGE_LOGGED, [a_record(value, key) for value in values])

    @asynccontextmanager
    async def rating(self) -> AsyncIterator[None]:
        """A rater at work."""
        async with self._consuming(RATER, USAGE_LOGGED, self.rater_positions, self.recorder.record):
            yield

    @asynccontextmanager
    async def issuing(self) -> AsyncIterator[None]:
        """An issuer at work."""
        async with self._consuming(ISSUER, USAGE_RATED, self.issuer_positions, self.issuer.issue_receipts):
            yield

    async def work_off(self) -> None:
        """Have everything rated and receipted that was accepted until now."""
        async with self.rating():
            await self.wait_for(RATER, USAGE_LOGGED, self.rater_positions)
        async with self.issuing():
            await self.wait_for(ISSUER, USAGE_RATED, self.issuer_positions)

    async def wait_for(
        self, group: str, topic: str, positions: PostgresPositions, seconds: float = 30
    ) -> None:
        """Wait until a group has no lag."""
        ends = await self.event_log.ends(topic)
        async with asyncio.timeout(seconds):
            while True:
                applied = await positions.load(group, topic, list(ends))
                if all(applied.get(partition, 0) >= end for partition, end in ends.items()):
                    return
                await asyncio.sleep(0.05)

    async def wait_until_rated(self, seconds: float = 30) -> None:
        """Wait until the rater has no lag."""
        await self.wait_for(RATER, USAGE_LOGGED, self.rater_positions, seconds)

    async def verify(self) -> Findings:
        """Check everything, as `doctor --verify` does."""
        verification = Verification(
            event_log=self.event_log,
            usage_url=self.database.url,
            receipts_url=self.database.url,
            pricebook=self.pricebook,  # type: ignore[arg-type]  # stands in its place
            on_progress=lambda what, count: None,
        )
        return await verification.verify()

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        """Look into the database, or change something behind everybody's back."""
        async with self.database.connection() as connection:
            return await connection.fetch(statement, *arguments)

    async def execute(self, *statements: str) -> None:
        """Corrupt something, as no code of ours would; the triggers that guard it are off."""
        async with self.database.transaction() as connection:
            await connection.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)

    async def fetchval(self, statement: str, *arguments: object) -> Any:
        """The first column of the first row."""
        async with self.database.connection() as connection:
            return await connection.fetchval(statement, *arguments)

    async def run(self, *arguments: str, **settings: str) -> "Printed":
        """Run a command of `llmring-api` as the operator would, with this deployment's settings and more."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMRING_")}
        environment["LLMRING_DATABASE_URL"] = self.database.url
        environment["LLMRING_LOG_FORMAT"] = "text"
        if self.kind == "kafka":
            environment["LLMRING_KAFKA_BOOTSTRAP"] = self.address
        environment |= settings
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services", *arguments), env=environment, stdout=PIPE, stderr=PIPE
        )
        async with asyncio.timeout(120):
            out, err = await process.communicate()
        return Printed(process.returncode or 0, out.decode(), err.decode())

    @asynccontextmanager
    async def _consuming(
        self, group: str, topic: str, positions: PostgresPositions, apply: Any
    ) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(
            run_consumer(self.event_log, group, topic, positions, apply, stop=stop, max_records=100)
        )
        try:
            yield
        finally:
            stop.set()
            async with asyncio.timeout(30):
                await task


@asynccontextmanager
async def open_works(kind: str, address: str, database_url: str, data_dir: Path) -> AsyncIterator[Works]:
    """Consumers on a database and an event log of that kind, whose tables and topics are made."""
    await migrate(database_url, SCHEMAS)
    await prepare_log(kind, address)
    async with AsyncExitStack() as stack:
        event_log = await open_log_at(kind, address)
        stack.push_async_callback(event_log.close)
        await event_log.ensure_topics(TOPICS)
        database = await open_database(database_url, application_name="test")
        stack.push_async_callback(database.close)
        clock, pricebook = FixedClock(NOW), ALimitedPricebook()
        signer = Signer(database, ReceiptsSettings(data_dir=str(data_dir)), clock)
        await signer.open()
        log = ReceiptLog(database, signer, "", clock)
        await log.open()
        yield Works(
            kind=kind,
            address=address,
            database=database,
            event_log=event_log,
            recorder=Recorder(
                database=database,
                event_log=event_log,
                positions=PostgresPositions(database, ingest.SCHEMA.name),
                pricebook=pricebook,  # type: ignore[arg-type]  # stands in its place
                watermark=None,
                clock=clock,
                follow_records=True,
            ),
            issuer=Issuer(
                database=database,
                event_log=event_log,
                positions=PostgresPositions(database, receipts.SCHEMA.name),
                signer=signer,
                log=log,
                clock=clock,
            ),
            pricebook=pricebook,
        )
