"""The event log in Postgres does not only grow: what is old and passed goes, in one process and in many."""

import asyncio
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from services.all_in_one import SCHEMAS
from services.cli.embedded_postgres import find_running_postgres
from services.ingest.record import RATER
from shared.contracts.topics import RECEIPTS_ISSUED, TOPICS, USAGE_LOGGED, USAGE_RATED
from shared.event_log.port import Record
from shared.event_log.postgres import SCHEMA, open_postgres_event_log
from shared.postgres import migrate, open_connection
from tests.live.conftest import Account
from tests.live.process import ServerProcess

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}
COUNT = 5
LONG_AGO = "UPDATE event_log.records SET appended_at = now() - interval '30 days'"
LEFT = """
SELECT topic, count(*) AS records FROM event_log.partitions JOIN event_log.records USING (partition_id)
 GROUP BY topic
"""


def execute(url: str, statement: str, *values: Any) -> list[Any]:
    """Run one statement behind the server's back."""

    async def run() -> list[Any]:
        connection = await open_connection(url, application_name="tests")
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    return asyncio.run(run())


def wait_until(condition: Callable[[], bool], complaint: Callable[[], object]) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.1)


def wait_until_left(url: str, expected: dict[str, int]) -> dict[str, int]:
    """Wait until topics have so many records; how many each topic has."""

    def left() -> dict[str, int]:
        return {row["topic"]: row["records"] for row in execute(url, LEFT)}

    wait_until(lambda: expected.items() <= left().items(), left)
    return left()


def test_old_records_go_and_those_of_usage_logged_only_where_the_operator_says_so(data_dir: Path) -> None:
    process = ServerProcess(data_dir)
    process.start()
    try:
        with httpx.Client(base_url=process.url, headers={"X-API-Key": process.operator_key}) as operator:
            account = Account(process, operator)
        for _ in range(COUNT):
            account.log(**CALL)

        def count() -> list[int]:
            receipts = account.http.get("/api/v1/receipts").json()["receipts"]
            return [account.stats()["total_requests"], len(account.logs()), len(receipts)]

        wait_until(lambda: count() == [COUNT] * 3, count)
        execute(embedded_url(process), LONG_AGO)
        assert process.stop() == 0
        process.start()
        left = wait_until_left(embedded_url(process), {USAGE_RATED: 1, RECEIPTS_ISSUED: 1})
        assert left[USAGE_LOGGED] == COUNT
        assert process.stop() == 0
        process.environment["LLMRING_EVENT_LOG_ACCEPTED_RETENTION_DAYS"] = "7"
        process.start()
        wait_until_left(embedded_url(process), {USAGE_LOGGED: 1})
        assert count() == [COUNT] * 3
        account.log(**CALL)
        wait_until(lambda: count() == [COUNT + 1] * 3, count)
        account.http.close()
    finally:
        assert process.stop() == 0


def embedded_url(process: ServerProcess) -> str:
    """The embedded database, while the server runs."""
    url = find_running_postgres(process.data_dir / "postgres")
    assert url
    return url


def test_where_services_are_processes_the_issuer_deletes_what_every_group_has_passed(
    data_dir: Path, postgres_url: str
) -> None:
    partition = asyncio.run(fill(postgres_url))
    execute(postgres_url, LONG_AGO)
    passed = (
        "INSERT INTO usage.positions (consumer_group, topic, partition, next_offset) VALUES ($1, $2, $3, 3)"
    )
    execute(postgres_url, passed, RATER, USAGE_LOGGED, partition)
    issuer = ServerProcess(
        data_dir,
        [sys.executable, "-m", "services", "worker", "issuer"],
        LLMRING_DATABASE_URL=postgres_url,
        LLMRING_RECEIPTS_SIGNING_SEED=b64encode(b"s" * 32).decode(),
        LLMRING_EVENT_LOG_RETENTION_DAYS="60",
        LLMRING_EVENT_LOG_ACCEPTED_RETENTION_DAYS="7",
    )
    issuer.start()
    try:
        left = wait_until_left(postgres_url, {USAGE_LOGGED: COUNT - 3})
        assert left[RECEIPTS_ISSUED] == COUNT
    finally:
        assert issuer.stop() == 0
    issuer.environment["LLMRING_EVENT_LOG_RETENTION_DAYS"] = "29"
    issuer.start()
    try:
        left = wait_until_left(postgres_url, {RECEIPTS_ISSUED: 1})
        assert left[USAGE_LOGGED] == COUNT - 3
    finally:
        assert issuer.stop() == 0


async def fill(url: str) -> int:
    """Append to one partition of two topics in a database that is empty; the partition's number."""
    await migrate(url, [SCHEMA, *SCHEMAS])
    log = await open_postgres_event_log(url)
    try:
        await log.ensure_topics(TOPICS)
        records = [Record(b"account", b"{}")] * COUNT
        await log.append(RECEIPTS_ISSUED, records)
        return (await log.append(USAGE_LOGGED, records))[0].partition
    finally:
        await log.close()
