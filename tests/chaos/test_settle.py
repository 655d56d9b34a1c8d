"""The checker finds what is wrong: one that cannot fail would prove nothing."""

from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from services.ingest import service as ingest
from services.receipts import service as receipts
from shared.postgres import Connection, migrate, open_connection
from shared.proofs.canonical import canonical_bytes
from shared.proofs.signing import SigningKey
from tests.chaos.ledger import Account, Ledger
from tests.chaos.records import one
from tests.chaos.settle import Settlement, settle

ACCOUNT = Account(0, str(uuid4()), "llmr_pk_0")
AT = "2026-11-25T12:34:56.789Z"
MODELS = {
    "openai:gpt-4o": {"dollars_per_million_tokens_input": "2.5", "dollars_per_million_tokens_output": "10"}
}
KEY = SigningKey.from_seed(bytes(range(32)))
COST = Decimal("0.0035")


class World:
    """Tables that hold exactly what was acknowledged, until a test changes them."""

    def __init__(self, url: str, connection: Connection) -> None:
        self.ledger = Ledger()
        self._url = url
        self.connection = connection
        self._number = 0

    async def add(self) -> UUID:
        """One record: acknowledged, stored, rolled up and receipted; its log id."""
        log_id = self.acknowledge()
        await self.store(log_id)
        await self.roll_up()
        await self.receipt(log_id)
        return log_id

    def acknowledge(self, cost: Decimal = COST) -> UUID:
        log_id = uuid4()
        record = {
            "provider": "openai", "model": "gpt-4o", "input_tokens": 1000, "output_tokens": 100,
            "latency_ms": 20, "idempotency_key": str(log_id),
        }  # fmt: skip
        answer = {
            "log_id": str(log_id), "cost": cost, "timestamp": AT, "cost_status": "priced",
            "registry_version": "2026.11.01",
        }  # fmt: skip
        work = one(record)
        self.ledger.note_sent(ACCOUNT, work)
        self.ledger.acknowledge(ACCOUNT, work, [msgspec.json.Encoder(decimal_format="number").encode(answer)])
        return log_id

    async def store(self, log_id: UUID, cost: Decimal = COST) -> None:
        await self.connection.execute(
            "INSERT INTO usage.logs (account_id, log_id, occurred_at, received_at, key_id, provider, model,"
            " model_group, input_tokens, output_tokens, cached_input_tokens, cache_write_5m_tokens,"
            " cache_write_1h_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, service_tier,"
            " calculated_status, cost, cost_status, registry_version, cost_breakdown)"
            " VALUES ($1, $2, $3, $3, $1, 'openai', 'gpt-4o', 'openai:gpt-4o', 1000, 100, 0, 0, 0, 0, 0, 0,"
            " 'standard', 'priced', $4, 'priced', '2026.11.01', '[]')",
            UUID(ACCOUNT.account_id), log_id, datetime.fromisoformat(AT), cost,
        )  # fmt: skip

    async def roll_up(self) -> None:
        at = datetime.fromisoformat(AT).replace(second=0, microsecond=0)
        for grain, bucket_at in (("d", at.replace(hour=0, minute=0)), ("q", at.replace(minute=30))):
            await self.connection.execute(
                "INSERT INTO usage.rollups AS r (account_id, grain, bucket_at, provider, model_group, origin,"
                " alias, requests, unpriced_requests, cost, input_tokens, output_tokens, cached_input_tokens,"
                " timed_requests, latency_ms)"
                " VALUES ($1, $2, $3, 'openai', 'openai:gpt-4o', '', '', 1, 0, $4, 1000, 100, 0, 1, 20)"
                " ON CONFLICT (account_id, grain, bucket_at, names_id) DO UPDATE"
                " SET requests = r.requests + 1, cost = r.cost + $4, input_tokens = r.input_tokens + 1000,"
                " output_tokens = r.output_tokens + 100, timed_requests = r.timed_requests + 1,"
                " latency_ms = r.latency_ms + 20",
                UUID(ACCOUNT.account_id), grain.encode(), bucket_at, COST,
            )  # fmt: skip
            await self.connection.execute(
                "INSERT INTO usage.latency_rollups AS l (account_id, grain, bucket_at, provider, model_group,"
                " origin, alias, latency_bucket, requests) VALUES ($1, $2, $3, '', '', '', '', 20, 1)"
                " ON CONFLICT (account_id, grain, names_id, bucket_at, latency_bucket)"
                " DO UPDATE SET requests = l.requests + 1",
                UUID(ACCOUNT.account_id), grain.encode(), bucket_at,
            )  # fmt: skip

    async def receipt(self, log_id: UUID, cost: str = str(COST), *, honest: bool = True) -> None:
        self._number += 1
        facts: dict[str, Any] = {
            "account_id": ACCOUNT.account_id, "log_id": str(log_id), "cost": cost, "input_tokens": 1000,
            "occurred_at": AT,
        }  # fmt: skip
        payload = canonical_bytes(facts)
        await self.connection.execute(
            "INSERT INTO receipts.receipts (account_id, receipt_id, account_sequence, kind, log_id,"
            " occurred_at, issued_at, key_id, payload, signature)"
            " VALUES ($1, $2, $3, 'recorded', $4, $5, $5, 'k1', $6, $7)",
            UUID(ACCOUNT.account_id), uuid4(), self._number, log_id, datetime.now(UTC), payload,
            KEY.sign(payload) if honest else bytes(64),
        )  # fmt: skip
        await self.connection.execute(
            "INSERT INTO receipts.sequences VALUES ($1, $2)"
            " ON CONFLICT (account_id) DO UPDATE SET last_sequence = $2",
            UUID(ACCOUNT.account_id), self._number,
        )  # fmt: skip

    async def settle(self) -> Settlement:
        return await settle(self.ledger, self._url, {"2026.11.01": MODELS}, signatures=1000)


@pytest.fixture
async def world(postgres_url: str) -> AsyncIterator[World]:
    await migrate(postgres_url, [ingest.SCHEMA, receipts.SCHEMA])
    connection = await open_connection(postgres_url, application_name="test")
    await connection.execute(
        "INSERT INTO receipts.signing_keys (key_id, public_key, status, not_before)"
        " VALUES ('k1', $1, 'current', now())",
        KEY.public_key,
    )
    made = World(postgres_url, connection)
    for _ in range(3):
        await made.add()
    yield made
    await connection.close()


async def test_books_that_balance_are_found_to_balance(world: World) -> None:
    found = await world.settle()
    assert found == Settlement(
        acknowledged=3, stored=3, rolled_up=3, receipted=3, signatures_checked=3, differences=[]
    )


async def test_a_record_that_is_nowhere_is_lost(world: World) -> None:
    world.acknowledge()
    found = await world.settle()
    assert (found.acknowledged, found.stored, found.lost, found.doubled) == (4, 3, 1, 0)
    assert len(found.differences) == 5  # rows, rollups, latencies of two grains, receipts


async def test_a_record_that_only_the_rollups_lack_is_lost(world: World) -> None:
    log_id = world.acknowledge()
    await world.store(log_id)
    await world.receipt(log_id)
    found = await world.settle()
    assert (found.lost, found.rolled_up) == (1, 3)


async def test_a_record_without_a_receipt_is_lost(world: World) -> None:
    log_id = world.acknowledge()
    await world.store(log_id)
    await world.roll_up()
    found = await world.settle()
    assert (found.lost, found.receipted) == (1, 3)


async def test_what_nobody_was_told_of_is_doubled(world: World) -> None:
    await world.store(uuid4())
    found = await world.settle()
    assert (found.lost, found.doubled, found.stored) == (0, 1, 4)


async def test_what_was_counted_twice_is_doubled(world: World) -> None:
    await world.roll_up()
    found = await world.settle()
    assert found.doubled == 2  # in each of the two grains
    assert found.rolled_up == 4


async def test_a_row_with_another_cost_is_wrong(world: World) -> None:
    await world.connection.execute(
        "UPDATE usage.logs SET cost = cost + 0.0000000001 WHERE log_id ="
        " (SELECT min(log_id::text)::uuid FROM usage.logs)"
    )
    found = await world.settle()
    assert (found.wrong_cost, found.lost, found.doubled) == (1, 0, 0)


async def test_an_answer_that_the_price_list_does_not_bear_out_is_wrong(world: World) -> None:
    log_id = world.acknowledge(cost=Decimal("0.0036"))
    await world.store(log_id, cost=Decimal("0.0036"))
    found = await world.settle()
    assert found.wrong_cost == 1


async def test_a_receipt_that_states_another_cost_is_wrong(world: World) -> None:
    log_id = world.acknowledge()
    await world.store(log_id)
    await world.roll_up()
    await world.receipt(log_id, cost="0.004")
    found = await world.settle()
    assert (found.wrong_cost, found.lost) == (1, 0)


async def test_a_forged_receipt_and_a_missing_number_are_differences(world: World) -> None:
    log_id = world.acknowledge()
    await world.store(log_id)
    await world.roll_up()
    world._number += 1
    await world.receipt(log_id, honest=False)
    found = await world.settle()
    assert (found.lost, found.doubled, found.wrong_cost) == (0, 0, 0)
    assert len(found.differences) == 3  # the gap, the counter, the signature


async def test_a_repetition_with_another_answer_is_a_broken_promise() -> None:
    ledger = Ledger()
    work = one({"provider": "openai", "model": "gpt-4o", "idempotency_key": "k"})
    answer = b'{"log_id":"%s","cost":null,"timestamp":"t","cost_status":"s","registry_version":null}'
    first, second = (answer % b64encode(bytes([n])) for n in (1, 2))
    ledger.acknowledge(ACCOUNT, work, [first])
    ledger.acknowledge(ACCOUNT, work, [first])
    assert ledger.faults == []
    ledger.acknowledge(ACCOUNT, work, [second])
    assert len(ledger.faults) == 1
    assert len(ledger.acknowledged) == 1
