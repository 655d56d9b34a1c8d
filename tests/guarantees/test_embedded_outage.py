"""The embedded Postgres, killed under a running server."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.live.process import ServerProcess

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000}
PATIENCE_S = 30
WITHIN_S = 12
"""With a machine that does much else; alone it is 2 to 6 seconds."""


@pytest.fixture
def own(data_dir: Path) -> Iterator[ServerProcess]:
    """A server whose Postgres this test may harm."""
    process = ServerProcess(data_dir)
    process.start()
    yield process
    assert process.stop() == 0


def postgres_of(server: ServerProcess) -> list[psutil.Process]:
    """The embedded Postgres' processes, the first one before its children."""
    pid = int((server.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    postmaster = psutil.Process(pid)
    return [postmaster, *postmaster.children(recursive=True)]


def test_logs_and_reads_say_503_once_the_embedded_postgres_was_killed_until_a_new_start(
    own: ServerProcess,
) -> None:
    client = httpx.Client(base_url=own.url, headers={"X-API-Key": own.operator_key}, timeout=PATIENCE_S)
    keyed = {**CALL, "idempotency_key": "k"}
    before = client.post("/api/v1/log", json=CALL).raise_for_status().json()["log_id"]
    for process in postgres_of(own):
        process.kill()
    for answer in (
        client.post("/api/v1/log", json=CALL),
        client.post("/api/v1/log", json=keyed),
        client.get("/api/v1/stats"),
    ):
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True), answer.text
    assert httpx.get(f"{own.url}/health/live").status_code == 200
    assert own.stop() == 0
    own.start()
    retried = client.post("/api/v1/log", json=keyed).raise_for_status().json()["log_id"]
    deadline = time.monotonic() + PATIENCE_S
    while not (stats := client.get("/api/v1/stats").json())["complete"]:
        assert time.monotonic() < deadline, stats
    assert stats["total_requests"] == 2
    assert {row["id"] for row in client.get("/api/v1/logs").json()} == {before, retried}


def test_a_frozen_postgres_is_told_within_seconds(own: ServerProcess) -> None:
    client = httpx.Client(base_url=own.url, headers={"X-API-Key": own.operator_key}, timeout=PATIENCE_S)
    client.post("/api/v1/log", json=CALL).raise_for_status()
    frozen = postgres_of(own)
    for process in frozen:
        process.suspend()
    try:
        for number in range(2):
            began = time.monotonic()
            answer = client.post("/api/v1/log", json={**CALL, "idempotency_key": f"frozen{number}"})
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True), answer.text
            assert time.monotonic() - began < WITHIN_S
    finally:
        for process in frozen:
            process.resume()
    deadline = time.monotonic() + PATIENCE_S
    while client.post("/api/v1/log", json={**CALL, "idempotency_key": "frozen0"}).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
