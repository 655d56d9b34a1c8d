"""One deployment of separate processes for all tests of this folder, on servers that they may stop."""

import secrets
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import leave_out
from tests.live.conftest import open_folder
from tests.production.processes import Deployment, wait_until
from tests.servers.server import MissingServerError, Server
from tests.servers.session import session_folder, start_server, write_note

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}


class Town:
    """A deployment, the servers below it, and an account."""

    def __init__(self, deployment: Deployment, servers: dict[str, Server]) -> None:
        self.deployment = deployment
        self.servers = servers
        self.operator = httpx.Client(
            base_url=deployment.url,
            headers={"X-API-Key": deployment.run("keys", "create", "--operator")},
            timeout=30,
        )

    def open_account(self) -> "Customer":
        """A new account without limits."""
        return Customer(self)


class Customer:
    """An account's client, which remembers what was acknowledged."""

    def __init__(self, town: Town) -> None:
        email = f"{uuid.uuid4().hex}@example.com"
        answer = town.operator.post("/api/v1/cli/register", json={"email": email, "accept_terms": True})
        assert answer.status_code == 201, answer.text
        self.key: str = answer.json()["api_key"]
        self.http = httpx.Client(base_url=town.deployment.url, headers={"X-API-Key": self.key}, timeout=30)
        # Not by its own key, whose requests are counted.
        [found] = town.operator.get("/api/v1/admin/accounts", params={"email": email}).json()["accounts"]
        self.account_id: str = found["account_id"]
        town.operator.patch(
            f"/api/v1/admin/accounts/{self.account_id}",
            json=dict.fromkeys(("requests_per_minute", "logs_per_month", "retention_days")),
        ).raise_for_status()
        self.acknowledged: dict[str, dict[str, Any]] = {}

    def try_log(self, **fields: Any) -> httpx.Response:
        """Record one call, whatever comes of it."""
        answer = self.http.post("/api/v1/log", json={**CALL, **fields})
        if answer.status_code == 200:
            self.acknowledged[answer.json()["log_id"]] = answer.json()
        return answer

    def log(self, **fields: Any) -> dict[str, Any]:
        """Record one call, which must be accepted."""
        answer = self.try_log(**fields)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def expect_all_counted(self, within_s: float = 60) -> None:
        """What was acknowledged is stored, added up and receipted, once each."""
        wait_until(self._is_settled, within_s, self._describe)
        rows = self.http.get("/api/v1/logs", params={"limit": 500}).json()
        assert {row["id"]: row["cost"] for row in rows} == {
            log_id: answer["cost"] for log_id, answer in self.acknowledged.items()
        }
        receipts = self._receipts()
        assert {each["payload"]["log_id"] for each in receipts} == self.acknowledged.keys()
        assert len(receipts) == len(self.acknowledged)

    def _is_settled(self) -> bool:
        stats = self.http.get("/api/v1/stats")
        if stats.status_code != 200 or not stats.json()["complete"]:
            return False
        count = len(self.acknowledged)
        return stats.json()["total_requests"] >= count and len(self._receipts()) >= count

    def _receipts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/api/v1/receipts", params={"limit": 500}).json()[
            "receipts"
        ]
        return found

    def _describe(self) -> str:
        stats = self.http.get("/api/v1/stats").text
        return f"{len(self.acknowledged)} acknowledged, {len(self._receipts())} receipts, {stats}"


@pytest.fixture(scope="session")
def town() -> Iterator[Town]:
    """Separate processes on real Kafka, Postgres and Redis, all ready."""
    servers: dict[str, Server] = {}
    notes = []
    try:
        for kind in ("postgres", "kafka", "redis"):
            name = f"{kind}-{secrets.token_hex(4)}"
            try:
                servers[kind] = start_server(kind, session_folder() / name)
            except MissingServerError as error:
                leave_out(kind, error)
            notes.append(write_note(name, servers[kind]))
        with open_folder() as folder:
            deployment = Deployment(
                folder,
                postgres=f"postgresql://postgres@{servers['postgres'].address}/postgres",
                kafka=servers["kafka"].address,
                redis=f"redis://{servers['redis'].address}/0",
            )
            try:
                deployment.start()
                yield Town(deployment, servers)
            finally:
                statuses = deployment.stop()
                assert set(statuses.values()) <= {0}, statuses
    finally:
        for server in servers.values():
            server.destroy()
        for note in notes:
            note.unlink()


@pytest.fixture
def customer(town: Town) -> Iterator[Customer]:
    """A fresh account."""
    made = town.open_account()
    yield made
    made.http.close()
