"""The example in `docs/examples/usage-rated` adds up, in another language, what the statistics say."""

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from shared.event_log.kafka.clients import PRODUCER
from tests.conftest import leave_out
from tests.docs.pages import ROOT
from tests.events.node import install
from tests.live.conftest import Account
from tests.live.process import ServerProcess
from tests.servers.server import MissingServerError, Server

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

EXAMPLE = ROOT / "docs" / "examples" / "usage-rated"
PATIENCE_S = 60
RECORDS = 300


class Total(NamedTuple):
    """What one account made and paid."""

    requests: int
    unpriced: int
    cost: Decimal


class Example:
    """The example's program in a folder of its own, as its README says to run it."""

    def __init__(self, node: Path, folder: Path, bootstrap: str) -> None:
        for name in ("package.json", "consume.mjs", "totals.mjs"):
            shutil.copy(EXAMPLE / name, folder)
        (folder / "node_modules").symlink_to(install(EXAMPLE))
        self.folder = folder
        self.errors = folder / "errors.txt"
        self.printed = folder / "printed.txt"
        start: str = json.loads((EXAMPLE / "package.json").read_text())["scripts"]["start"]
        self._command = [str(node), *start.split()[1:]]
        self._environment = {**os.environ, "KAFKA_BOOTSTRAP": bootstrap, "GROUP_ID": "finance"}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> None:
        with self.printed.open("ab") as printed, self.errors.open("ab") as errors:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env={**self._environment, **environment},
                stdout=printed,
                stderr=errors,
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=20)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def totals(self) -> dict[str, Total]:
        """The last line it printed for each account."""
        found: dict[str, Total] = {}
        for line in self.printed.read_text().splitlines():
            account, *pairs = line.split()
            values = dict(pair.split("=") for pair in pairs)
            found[account] = Total(int(values["requests"]), int(values["unpriced"]), Decimal(values["cost"]))
        return found

    def wait_for(self, condition: Callable[[dict[str, Total]], bool]) -> None:
        """Wait until what it printed is right."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(self.totals()):
            assert self._process is not None
            assert self._process.poll() is None, self.errors.read_text()
            assert time.monotonic() < deadline, f"{self.totals()}\n{self.errors.read_text()}"
            time.sleep(0.1)


@pytest.fixture
def example(node: Path, tmp_path: Path, kafka: Server) -> Iterator[Example]:
    """The example, not started."""
    try:
        made = Example(node, tmp_path, kafka.address)
    except MissingServerError as error:
        leave_out("node", error)
    yield made
    made.close()


def calls(seed: int) -> list[dict[str, Any]]:
    """Calls whose costs no binary fraction can hold, with unpriced ones and given costs among them."""
    chosen = random.Random(seed)
    made = []
    for _ in range(RECORDS):
        call: dict[str, Any] = {
            "provider": "openai",
            "model": chosen.choice(["gpt-4o-mini", "gpt-4o", "no-such-model"]),
            "input_tokens": chosen.randint(1, 99_999),
            "output_tokens": chosen.randint(0, 9_999),
        }
        if chosen.random() < 0.3:
            call["cost"] = chosen.choice([0, 0.1, 0.2, 0.0000000375, 999_999.99])
        made.append(call)
    return made


def send(account: Account, records: list[dict[str, Any]]) -> None:
    """Report calls, half of them in one batch."""
    half = len(records) // 2
    answer = account.http.post("/api/v1/log/batch", json={"logs": records[:half]})
    assert answer.json()["rejected"] == 0, answer.text
    for record in records[half:]:
        account.log(**record)


def counted(account: Account) -> Total:
    """What the statistics say, to the last digit."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = account.http.get("/api/v1/stats")
        stats = json.loads(answer.text, parse_float=Decimal)
        if stats["complete"]:
            summary = stats["summary"]
            return Total(
                summary["total_requests"], summary["unpriced_requests"], Decimal(summary["total_cost"])
            )
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)


def test_its_totals_are_those_of_the_statistics_to_the_last_digit(
    on_kafka: ServerProcess, example: Example
) -> None:
    assert PRODUCER["compression_type"] == "lz4"  # so it has to read that
    operator = httpx.Client(base_url=on_kafka.url, headers={"X-API-Key": on_kafka.operator_key}, timeout=30)
    accounts = [Account(on_kafka, operator) for _ in range(3)]
    seed = int(os.environ["LLMRING_TEST_SEED"])
    for number, account in enumerate(accounts):
        send(account, calls(seed + number))

    example.start()
    example.wait_for(bool)
    example.kill()
    example.start()
    expected = {account.account_id: counted(account) for account in accounts}
    assert all(total.requests == RECORDS and total.unpriced > 0 for total in expected.values())
    example.wait_for(lambda totals: totals == expected)

    accounts[0].log(provider="openai", model="gpt-4o-mini", input_tokens=7, cost=0.7)
    expected = {account.account_id: counted(account) for account in accounts}
    example.wait_for(lambda totals: totals == expected)

    model = {"provider": "openai", "model_name": "no-such-model", "dollars_per_million_tokens_input": 0.3}
    model["dollars_per_million_tokens_output"] = 0.7
    operator.post("/registry/versions", json={"models": [model], "mode": "merge"}).raise_for_status()
    whenever = {"start_date": "2020-01-01", "end_date": "2099-12-31", "dry_run": False}
    operator.post("/api/v1/admin/usage/reprice", json=whenever).raise_for_status()
    expected = {account.account_id: counted(account) for account in accounts}
    assert {total.unpriced for total in expected.values()} == {0}
    example.wait_for(lambda totals: totals == expected)
    assert example.stop() == 0

    # Another group begins at the first record: all of it is a repeat, and none of it counts.
    example.start(GROUP_ID="finance-again")
    accounts[1].log(provider="openai", model="gpt-4o-mini", input_tokens=7)
    expected = {account.account_id: counted(account) for account in accounts}
    example.wait_for(lambda totals: totals == expected)
    assert example.stop() == 0
    assert example.errors.read_text() == ""
