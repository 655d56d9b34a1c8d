"""The same program on a Kafka and a Postgres of its owner's, set by two variables."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartServer
from tests.live.conftest import Account
from tests.live.process import ServerProcess
from tests.servers.server import Server

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}


@pytest.fixture
def kafka(own_server: StartServer) -> Server:
    """A broker that this test may stop."""
    return own_server("kafka")


@pytest.fixture
def on_kafka(data_dir: Path, postgres_url: str, kafka: Server) -> Iterator[ServerProcess]:
    """A server on real Kafka and a Postgres from outside."""
    process = ServerProcess(
        data_dir, LLMRING_DATABASE_URL=postgres_url, LLMRING_KAFKA_BOOTSTRAP=kafka.address
    )
    process.start()
    yield process
    process.stop()


def receipts_of(account: Account, count: int) -> list[dict[str, object]]:
    """The account's receipts, once there are so many."""
    deadline = time.monotonic() + 20
    while True:
        found: list[dict[str, object]] = account.http.get("/api/v1/receipts", params={"limit": 500}).json()[
            "receipts"
        ]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def settled_stats(account: Account) -> dict[str, object]:
    """The account's statistics, once they are complete."""
    deadline = time.monotonic() + 30
    while True:
        stats: dict[str, object] = account.http.get("/api/v1/stats").json()
        if stats["complete"] or time.monotonic() > deadline:
            return stats
        time.sleep(0.1)


def test_a_record_goes_through_kafka_and_survives_a_kill_and_an_outage(
    on_kafka: ServerProcess, kafka: Server
) -> None:
    operator = httpx.Client(base_url=on_kafka.url, headers={"X-API-Key": on_kafka.operator_key}, timeout=30)
    account = Account(on_kafka, operator)
    for number in range(50):
        account.log(**CALL, idempotency_key=f"k{number}")
    assert settled_stats(account)["total_requests"] == 50
    assert len(receipts_of(account, 50)) == 50

    on_kafka.kill()
    on_kafka.start()
    account.log(**CALL)
    assert settled_stats(account)["total_requests"] == 51

    kafka.stop()
    started = time.monotonic()
    away = account.http.post("/api/v1/log", json=CALL, headers={"Idempotency-Key": "away"})
    assert away.status_code == 503, away.text
    assert time.monotonic() - started < 10
    assert int(away.headers["retry-after"]) >= 1
    assert account.http.get("/api/v1/logs").status_code == 200
    kafka.start()
    deadline = time.monotonic() + 60
    while True:
        again = account.http.post("/api/v1/log", json=CALL, headers={"Idempotency-Key": "away"})
        if again.status_code == 200 or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert again.status_code == 200, again.text
    deadline = time.monotonic() + 60
    while settled_stats(account)["total_requests"] != 52 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert settled_stats(account)["total_requests"] == 52
    assert len(receipts_of(account, 52)) == 52
