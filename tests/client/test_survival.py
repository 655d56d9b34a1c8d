"""Nothing is lost and nothing counts twice, whatever dies on either side."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.client.conftest import FOREIGN
from tests.client.fake import Reply, Seen, open_fake, problem
from tests.live.conftest import Account, data_dir  # noqa: F401 - a fixture
from tests.live.process import ServerProcess

TOTAL = 5000


class Weather:
    """Stands before the server, and lets a request through, refuses it, or loses it or its answer."""

    def __init__(self, server: ServerProcess, seed: str) -> None:
        self.server = server
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.http = httpx.Client(timeout=30)
        self.next: list[str] = []
        self.is_fair = False

    def answer(self, seen: Seen) -> Reply:
        """One request's fate."""
        with self.lock:
            if not self.next:  # each in every round, in any order
                self.next = ["pass", "pass", "limited", "refused", "lost before", "lost after"]
                self.random.shuffle(self.next)
            kind = "pass" if self.is_fair else self.next.pop()
            self.seen[kind] += 1
        match kind:
            case "limited":
                return problem(429, "rate-limited", headers={"Retry-After": "1"})
            case "refused":
                return problem(503, "unavailable", headers={"Retry-After": "0"})
            case "lost before":
                return Reply(0)
        try:
            answer = self.http.request(
                seen.method,
                f"{self.server.url}{seen.path}",
                json=seen.body,
                headers={"X-API-Key": seen.headers["x-api-key"]},
            )
        except httpx.TransportError:
            with self.lock:
                self.seen["away"] += 1
            return Reply(0)
        return Reply(0) if kind == "lost after" else Reply(answer.status_code, answer.content)


class Program:
    """The program that reports calls."""

    def __init__(self, url: str, key: str, folder: Path) -> None:
        self.notes = folder / "notes"
        self.queue = folder / "queue"
        self.log = folder / "log"
        script = str(Path(__file__).parent / "run_survivor.py")
        self.command = [sys.executable, script, url, key, str(self.queue), str(self.notes)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": str(FOREIGN)}
            self.process = subprocess.Popen(self.command, env=environment, stderr=log)

    def done(self) -> int:
        """How far it has come, as it knows itself."""
        return int(self.notes.read_text()) if self.notes.exists() else 0

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 120
        while self.done() < count:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.005)

    def kill(self) -> int:
        """Kill it; how many records it leaves behind that the server may not have."""
        assert self.process is not None
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL
        with sqlite3.connect(self.queue) as connection:
            left: tuple[int] = connection.execute("SELECT count(*) FROM records").fetchone()
        return left[0]

    def end(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=200)


@pytest.fixture
def own(data_dir: Path) -> Iterator[ServerProcess]:  # noqa: F811
    process = ServerProcess(data_dir)
    process.start()
    yield process
    process.stop()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_five_thousand_records_are_five_thousand(own: ServerProcess, tmp_path: Path) -> None:
    with httpx.Client(base_url=own.url, headers={"X-API-Key": own.operator_key}, timeout=30) as operator:
        account = Account(own, operator)
    weather = Weather(own, os.environ["LLMRING_TEST_SEED"])
    with open_fake() as before:
        before.handler = weather.answer
        program = Program(before.url, account.key, tmp_path)
        program.start()
        program.wait_for(800)
        own.kill()
        program.wait_for(1500)
        left = program.kill()
        assert left >= 700 - 1  # the server was away all the time: they are on this machine alone
        program.start()
        own.start()
        program.wait_for(2600)
        own.kill()
        own.start()
        program.wait_for(3600)
        program.kill()
        program.start()
        program.wait_for(TOTAL)
        weather.is_fair = True
        assert program.end() == 0, program.log.read_text()
    summary = account.stats(origin="survivor")["summary"]
    account.http.close()
    assert (summary["total_requests"], summary["input_tokens"]) == (TOTAL, TOTAL * (TOTAL - 1) // 2)
    assert set(weather.seen) == {"pass", "limited", "refused", "lost before", "lost after", "away"}
