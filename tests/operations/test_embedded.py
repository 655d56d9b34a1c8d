"""The same commands for one process with everything in its data directory, at real prices."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.cli.embedded_postgres import find_running_postgres
from shared.postgres import open_connection
from tests.live.conftest import Account, open_folder
from tests.live.process import ServerProcess

pytestmark = pytest.mark.slow

CALLS = [
    {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1_200 + n, "latency_ms": n}
    for n in range(40)
]


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    with open_folder() as folder:
        process = ServerProcess(folder / "data")
        process.start()
        yield process
        process.stop()


def run(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command beside the server, or without it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMRING_")}
    return subprocess.run(
        [sys.executable, "-m", "services", *arguments],
        env=environment | {"LLMRING_DATA_DIR": str(data_dir), "LLMRING_LOG_FORMAT": "text"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def verified(data_dir: Path) -> dict[str, Any]:
    """What the check says, once nothing is in flight."""
    deadline = time.monotonic() + 60
    while True:
        printed = run(data_dir, "doctor", "--verify", "--json")
        document: dict[str, Any] = json.loads(printed.stdout)
        if document["lag"] == 0 or time.monotonic() > deadline:
            assert printed.returncode == 0, document
            return document


async def empty_tables(url: str) -> None:
    connection = await open_connection(url, application_name="test")
    await connection.execute(
        "TRUNCATE usage.logs, usage.rollups, usage.latency_rollups, usage.months, usage.positions, "
        "usage.claims"
    )
    await connection.close()


async def test_the_tables_come_back_from_the_log_and_everything_adds_up(server: ServerProcess) -> None:
    operator = httpx.Client(base_url=server.url, headers={"X-API-Key": server.operator_key}, timeout=30)
    account = Account(server, operator)
    for number, call in enumerate(CALLS):
        account.log(**call, idempotency_key=f"k{number}")
    assert run(server.data_dir, "doctor").returncode == 0
    found = verified(server.data_dir)
    assert {found[name] for name in ("topic", "stored", "rolled_up", "receipted")} == {len(CALLS)}
    stats = account.stats()

    url = find_running_postgres(server.data_dir / "postgres")
    assert url is not None
    server.kill()
    await empty_tables(url)
    rebuilt = run(server.data_dir, "usage", "rebuild", "--from-topic")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert f"{len(CALLS)} records of usage.logged were recorded" in rebuilt.stdout
    assert "no registry version" not in rebuilt.stdout

    server.start()
    # The records were rated once more; the issuer passes over those that have their receipt.
    assert verified(server.data_dir) == found
    assert account.stats() == stats
    again = account.http.post("/api/v1/log", json=CALLS[0], headers={"Idempotency-Key": "k0"})
    assert again.status_code == 200
    other = account.http.post("/api/v1/log", json=CALLS[1], headers={"Idempotency-Key": "k0"})
    assert other.status_code == 422
    assert account.stats() == stats
