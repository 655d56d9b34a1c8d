"""Case B7: several replicas migrate an empty database at once, and one of them is killed on the way."""

import asyncio
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.all_in_one import SCHEMAS
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.postgres import list_pending, open_connection
from tests.conftest import StartServer
from tests.production.processes import wait_until

ALL = [EVENT_LOG_SCHEMA, *SCHEMAS]
_PSUTIL: Any = psutil  # its functions carry no annotations

BLOCKED = "receipts"
"""A schema that somebody holds, so that whoever migrates stands still in the middle."""


def start_migration(url: str, folder: Path, number: int, **settings: str) -> subprocess.Popen[bytes]:
    """`llmring-api migrate`, running."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LLMRING_")},
        "LLMRING_DATABASE_URL": url,
        "LLMRING_LOG_FORMAT": "text",
        **settings,
    }
    with (folder / f"{number}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "services", "migrate"], env=environment, stdout=log, stderr=log
        )


async def test_one_of_five_migrations_is_killed_midway_and_all_is_well(
    postgres_url: str, tmp_path: Path
) -> None:
    blocker = await open_connection(postgres_url, application_name="llmring-tests")
    await blocker.execute("BEGIN")
    await blocker.execute(f"CREATE SCHEMA {BLOCKED}")  # not committed: who makes it too has to wait
    migrations = [start_migration(postgres_url, tmp_path, number) for number in range(5)]
    try:
        victim = await asyncio.to_thread(_wait_for_runner, postgres_url, migrations)
        victim.kill()
        victim.wait()
        await blocker.execute("ROLLBACK")
        survivors = [each for each in migrations if each is not victim]
        statuses = [await asyncio.to_thread(each.wait, 120) for each in survivors]
        assert statuses == [0] * 4, _read_logs(tmp_path)
        assert await list_pending(postgres_url, ALL) == []
        applied = re.findall(r"^applied (\S+)", _read_logs(tmp_path), re.MULTILINE)
        assert len(set(applied)) == len(applied) > 0, "a file was applied twice"
        assert await _count_ledgers(postgres_url) == len(ALL)
    finally:
        await blocker.close()
        for each in migrations:
            each.kill()
            each.wait()


@pytest.mark.kafka
def test_three_migrations_create_the_topics_of_an_empty_kafka_once(
    postgres_url: str, own_server: StartServer, tmp_path: Path
) -> None:
    kafka = own_server("kafka")
    migrations = [
        start_migration(postgres_url, tmp_path, number, LLMRING_KAFKA_BOOTSTRAP=kafka.address)
        for number in range(3)
    ]
    try:
        assert [each.wait(timeout=120) for each in migrations] == [0] * 3, _read_logs(tmp_path)
    finally:
        for each in migrations:
            each.kill()
            each.wait()


def _wait_for_runner(url: str, migrations: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """The process whose statement waits for the schema."""
    found: list[subprocess.Popen[bytes]] = []

    def is_found() -> bool:
        port = asyncio.run(_find_waiting_port(url))
        for each in migrations:
            assert each.poll() is None
            ports = {connection.laddr.port for connection in _PSUTIL.Process(each.pid).net_connections()}
            if port in ports:
                found.append(each)
        return bool(found)

    wait_until(is_found, 120)  # five processes start at once, on a busy machine
    time.sleep(0.2)  # the others queue up behind it
    return found[0]


async def _find_waiting_port(url: str) -> int | None:
    connection = await open_connection(url, application_name="llmring-tests")
    try:
        port: int | None = await connection.fetchval(
            "SELECT client_port FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1",
            f"%CREATE SCHEMA IF NOT EXISTS {BLOCKED};%",
        )
        return port
    finally:
        await connection.close()


async def _count_ledgers(url: str) -> int:
    connection = await open_connection(url, application_name="llmring-tests")
    try:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM information_schema.tables WHERE table_name = 'schema_migrations'"
        )
        return count
    finally:
        await connection.close()


def _read_logs(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.log")))
