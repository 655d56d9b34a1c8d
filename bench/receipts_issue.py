"""`make bench-receipts`: receipts a second, from rated events to committed leaves of the signed tree.

Beside it, in the same run, the floor: build, sign, hash and insert, and nothing else.
"""

import argparse
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec
import uvloop

from bench.servers import run_postgres
from services.receipts.issue import Issuer
from services.receipts.log import ReceiptLog
from services.receipts.payload import add_issue, usage_facts
from services.receipts.service import SCHEMA
from services.receipts.settings import ReceiptsSettings
from services.receipts.signer import Signer
from shared.clock import SystemClock
from shared.contracts.topics import TOPICS, USAGE_RATED
from shared.contracts.usage import CostLine, UsageRated
from shared.event_log.port import Slice, StoredRecord
from shared.event_log.positions import PostgresPositions
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.event_log.postgres import open_postgres_event_log
from shared.ids import uuid7
from shared.postgres import migrate, open_database
from shared.proofs.signing import SigningKey, encode_base64, new_seed
from shared.runtime.run import spare_the_collector

T = TypeVar("T")

ACCOUNTS = [UUID(int=number + 1) for number in range(20)]
_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(UsageRated)


def a_rated(number: int) -> bytes:
    """A rated record as the topic has it."""
    at = datetime.now(UTC)
    return msgspec.json.encode(
        UsageRated(
            log_id=uuid7(),
            account_id=ACCOUNTS[number % len(ACCOUNTS)],
            key_id=UUID(int=7),
            occurred_at=at,
            received_at=at,
            rated_at=at,
            provider="openai",
            model="gpt-4o-mini",
            model_key="openai:gpt-4o-mini",
            input_tokens=1200,
            output_tokens=340,
            origin="web",
            alias="fast",
            latency_ms=812,
            metadata=msgspec.Raw(b'{"user_id": "u1"}'),
            calculated_cost="0.000384",
            calculated_status="priced",
            cost="0.000384",
            cost_status="priced",
            registry_version="2031.05.01",
            cost_breakdown=[
                CostLine("input", 1200, "0.15", "0.00018"),
                CostLine("output", 340, "0.6", "0.000204"),
            ],
        )
    )


def a_batch(size: int) -> list[bytes]:
    """So many rated records, of all accounts in turn."""
    return [a_rated(number) for number in range(size)]


async def timed(name: str, size: int, batches: list[T], work: Callable[[T], Awaitable[None]]) -> float:
    """Receipts a second over some batches, the first one left out."""
    await work(batches[0])
    spare_the_collector()  # as every process of the product does
    started, cpu = time.monotonic(), time.process_time()
    for batch in batches[1:]:
        await work(batch)
    count = (len(batches) - 1) * size
    rate = count / (time.monotonic() - started)
    busy = (time.process_time() - cpu) / count * 1e6
    print(f"{name:8} {rate:10,.0f} receipts/s   {busy:6.1f} us of this process each")
    return rate


async def measure_floor(url: str, batches: int, size: int) -> float:
    """Build, sign, hash and insert."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE TABLE floor (account_id uuid, receipt_id uuid, leaf bytea, payload bytea, signature bytea,"
        " PRIMARY KEY (account_id, receipt_id))"
    )
    key = SigningKey.from_seed(new_seed())

    async def work(values: list[bytes]) -> None:
        rows: list[tuple[Any, ...]] = []
        for sequence, value in enumerate(values):
            usage = _decoder.decode(value)
            receipt_id = uuid7()
            payload = _encoder.encode(
                add_issue(
                    usage_facts(usage, usage.registry_digest),
                    kind="recorded",
                    receipt_id=receipt_id,
                    account_sequence=sequence,
                    key_id=key.key_id,
                    issued_at="2031-05-03T12:00:00Z",
                    nonce=os.urandom(16),
                )
            )
            rows.append(
                (usage.account_id, receipt_id, sha256(b"\0" + payload).digest(), payload, key.sign(payload))
            )
        await connection.copy_records_to_table("floor", records=rows)

    try:
        return await timed("floor", size, [a_batch(size) for _ in range(batches)], work)
    finally:
        await connection.close()


async def measure_issuer(url: str, batches: int, size: int) -> float:
    """The issuer as it runs, fed with slices."""
    await migrate(url, [EVENT_LOG_SCHEMA, SCHEMA])
    database = await open_database(url, application_name="bench")
    event_log = await open_postgres_event_log(url)
    await event_log.ensure_topics(TOPICS)
    clock = SystemClock()
    signer = Signer(database, ReceiptsSettings(signing_seed=encode_base64(new_seed())), clock)
    log = ReceiptLog(database, signer, "bench.example/log", clock)
    await signer.open()
    await log.open()
    issuer = Issuer(
        database=database,
        event_log=event_log,
        positions=PostgresPositions(database, SCHEMA.name),
        signer=signer,
        log=log,
        clock=clock,
    )

    def slice_of(number: int, values: list[bytes]) -> Slice:
        first = number * size
        records = tuple(
            StoredRecord(USAGE_RATED, 0, first + index, b"k", value, (), datetime.now(UTC))
            for index, value in enumerate(values)
        )
        return Slice(USAGE_RATED, 0, records, first)

    try:
        slices = [slice_of(number, a_batch(size)) for number in range(batches)]
        return await timed("issuer", size, slices, issuer.issue_receipts)
    finally:
        await event_log.close()
        await database.close()


def main() -> None:
    """Measure both on one fresh Postgres."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=30)
    parser.add_argument("--size", type=int, default=ReceiptsSettings().issuer_batch)
    options = parser.parse_args()
    with run_postgres() as create:
        url = create("bench")
        floor = uvloop.run(measure_floor(url, options.batches, options.size))
        issuer = uvloop.run(measure_issuer(url, options.batches, options.size))
    print(f"ratio    {issuer / floor:10.2f}")


if __name__ == "__main__":
    main()
