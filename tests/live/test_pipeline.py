"""What the topics may bring without harm: the same records again, and records that nobody can read."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from services.cli.embedded_postgres import find_running_postgres
from shared.contracts.topics import USAGE_DEAD, USAGE_LOGGED
from shared.event_log.port import EventLog, Record, StoredRecord
from shared.event_log.postgres import open_postgres_event_log
from shared.postgres import open_connection
from tests.live.conftest import Account
from tests.live.process import ServerProcess

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}


@pytest.fixture
def own(data_dir: Path) -> Iterator[tuple[ServerProcess, Account]]:
    """A server of the test's own, and an account on it."""
    process = ServerProcess(data_dir)
    process.start()
    with httpx.Client(base_url=process.url, headers={"X-API-Key": process.operator_key}) as operator:
        yield process, Account(process, operator)
    process.stop()


def database_url(process: ServerProcess) -> str:
    """The embedded database, while the server runs."""
    url = find_running_postgres(process.data_dir / "postgres")
    assert url
    return url


async def execute(url: str, statement: str) -> list[Any]:
    """Run one statement behind the server's back."""
    connection = await open_connection(url, application_name="tests")
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def open_log(url: str) -> AsyncIterator[EventLog]:
    """The event log, as a foreign program sees it."""
    log = await open_postgres_event_log(url)
    try:
        yield log
    finally:
        await log.close()


def count(account: Account) -> tuple[int, float, int]:
    """Requests and cost by the statistics, and the number of receipts."""
    stats = account.stats()
    receipts = account.http.get("/api/v1/receipts", params={"limit": 500}).json()["receipts"]
    return stats["total_requests"], stats["total_cost"], len(receipts)


def await_count(account: Account, expected: tuple[int, float, int]) -> None:
    """Wait until the counts are as expected, and see that they stay so."""
    deadline = time.monotonic() + 15
    while count(account) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    assert count(account) == expected


@pytest.mark.parametrize("table", ["usage.positions", "receipts.positions"])
def test_records_that_are_delivered_again_are_counted_once(
    own: tuple[ServerProcess, Account], table: str
) -> None:
    process, account = own
    for _ in range(30):
        account.log(**CALL)
    before = (30, account.stats()["total_cost"], 30)
    await_count(account, before)
    url = database_url(process)
    process.kill()
    asyncio.run(execute(url, f"UPDATE {table} SET next_offset = 0"))
    process.start()
    await_count(account, before)
    [[behind]] = asyncio.run(execute(url, f"SELECT count(*) FROM {table} WHERE next_offset = 0"))
    assert behind == 0, "it has read them all again"
    account.log(**CALL)
    assert account.stats()["total_requests"] == 31


def poison(account: Account) -> list[bytes | None]:
    """Values that only a foreign producer can have written."""
    good: dict[str, Any] = {
        "v": 1,
        "log_id": str(uuid.uuid4()),
        "account_id": account.account_id,
        "key_id": str(uuid.uuid4()),
        "occurred_at": "2026-11-01T00:00:00Z",
        "received_at": "2026-11-01T00:00:00Z",
        "provider": "openai",
        "model": "gpt-4o-mini",
        "model_key": "openai:gpt-4o-mini",
        "input_tokens": 1,
        "output_tokens": 1,
        "calculated_status": "priced",
        "cost": "0.5",
        "cost_status": "client",
        "client_cost": "0.5",
        "registry_version": "2026.08.18.3",
    }
    wrong: list[dict[str, Any]] = [
        {"v": 99},
        {"alias": "a\0b"},
        {"input_tokens": 99999999999999999999},
        {"input_tokens": -5},
        {"registry_version": "1999.01.01"},
        {"client_cost": "NaN", "cost": "NaN"},
        {"client_cost": "much", "cost": "much"},
        {"occurred_at": "2026-11-01T00:00:00"},
        {"occurred_at": "9999-12-31T23:59:59-12:00"},
        {"client_cost": "-1", "cost": "-1"},
        {"log_id": "7"},
    ]
    return [b"\xff\xfe", b"", b"[]", b"{", *(msgspec.json.encode({**good, **change}) for change in wrong)]


def test_records_that_cannot_be_read_are_set_aside_and_hold_nobody_up(
    own: tuple[ServerProcess, Account],
) -> None:
    process, account = own
    account.log(**CALL)
    values = poison(account)

    async def produce() -> list[StoredRecord]:
        key = account.account_id.encode()
        async with open_log(database_url(process)) as log, log.tail(USAGE_DEAD) as dead:
            await log.append(USAGE_LOGGED, [Record(key, value or b"") for value in values])
            async with asyncio.timeout(20):
                return [await anext(dead) for _ in values]

    dead = asyncio.run(produce())
    assert [record.value for record in dead] == values
    headers = [dict(record.headers) for record in dead]
    assert all(
        header["dead-letter-topic"] == b"usage.logged" and header["dead-letter-reason"] for header in headers
    ), headers
    started = time.monotonic()
    answer = account.http.post("/api/v1/log/batch", json={"logs": [CALL] * 100})
    assert answer.json()["accepted"] == 100
    assert account.stats()["total_requests"] == 101
    assert time.monotonic() - started < 10
