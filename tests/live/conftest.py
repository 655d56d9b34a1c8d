"""One running server for each test process; every test has accounts of its own."""

import contextlib
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live.process import ServerProcess


class Account:
    """A fresh account without limits, and a client that sends its key."""

    def __init__(self, server: ServerProcess, operator: httpx.Client, *, unlimited: bool = True) -> None:
        # The way that asks for no password: to hash one takes longer than most tests.
        email = f"{uuid.uuid4().hex}@example.com"
        answer = operator.post("/api/v1/cli/register", json={"email": email, "accept_terms": True})
        assert answer.status_code == 201, answer.text
        self.key: str = answer.json()["api_key"]
        self.http = httpx.Client(base_url=server.url, headers={"X-API-Key": self.key}, timeout=30)
        # Not by its own key, whose requests are counted.
        [found] = operator.get("/api/v1/admin/accounts", params={"email": email}).json()["accounts"]
        self.account_id: str = found["account_id"]
        if unlimited:
            limits = dict.fromkeys(("requests_per_minute", "logs_per_month", "retention_days"))
            operator.patch(f"/api/v1/admin/accounts/{self.account_id}", json=limits).raise_for_status()

    def log(self, **fields: Any) -> dict[str, Any]:
        """Record one call, which must be accepted."""
        answer = self.http.post("/api/v1/log", json=fields)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def stats(self, **parameters: Any) -> dict[str, Any]:
        """The account's statistics, once they are complete: a busy machine may need longer."""
        body: dict[str, Any] = self.complete_stats(**parameters).json()
        return body

    def complete_stats(self, **parameters: Any) -> httpx.Response:
        """The answer that has them."""
        deadline = time.monotonic() + 20
        while True:
            answer = self.http.get("/api/v1/stats", params=parameters)
            assert answer.status_code == 200, answer.text
            if answer.json()["complete"]:
                return answer
            assert time.monotonic() < deadline, answer.text

    def logs(self, **parameters: Any) -> list[dict[str, Any]]:
        """The account's records."""
        answer = self.http.get("/api/v1/logs", params=parameters)
        assert answer.status_code == 200, answer.text
        body: list[dict[str, Any]] = answer.json()
        return body


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """A server in embedded mode, shared by the tests of this process."""
    with open_folder() as folder:
        process = ServerProcess(folder / "data")
        process.start()
        try:
            yield process
        finally:
            assert process.stop() == 0


@pytest.fixture(scope="session")
def operator(server: ServerProcess) -> Iterator[httpx.Client]:
    """A client with the operator's key."""
    headers = {"X-API-Key": server.operator_key}
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
def account(server: ServerProcess, operator: httpx.Client) -> Iterator[Account]:
    """A fresh account without limits."""
    made = Account(server, operator)
    yield made
    made.http.close()


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that the user of the embedded Postgres can reach; pytest's own are closed to all but one."""
    folder = Path(tempfile.mkdtemp(prefix="llmring-live-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory for a server of the test's own."""
    with open_folder() as folder:
        yield folder / "data"
