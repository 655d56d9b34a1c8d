"""A deployment as production runs it: every service and consumer a process of its own."""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.live.process import ServerProcess

PROGRAM = (sys.executable, "-m", "services")
NAMES = ("gateway", "registry", "ingest", "auth", "receipts", "webhooks", "rater", "issuer", "deliverer")
WORKERS = {"rater": "rater", "issuer": "issuer", "deliverer": "webhooks"}
"""Consumers, and how the program calls them."""


class Process(ServerProcess):
    """One service or consumer."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        command = [*PROGRAM, *(("worker", WORKERS[name]) if name in WORKERS else ("serve", name))]
        super().__init__(folder / f"{name}-{secrets.token_hex(4)}", command, **environment)
        self.name = name


class Deployment:
    """One process of each kind, on servers from outside.

    Args:
        folder: for logs and data.
        postgres: the database's URL.
        kafka: the brokers.
        redis: its URL.
        settings: for all processes.
    """

    def __init__(self, folder: Path, *, postgres: str, kafka: str, redis: str, **settings: str) -> None:
        self.folder = folder
        base = {name: value for name, value in os.environ.items() if not name.startswith("LLMRING_")}
        self.environment = {
            **base,
            "LLMRING_DATABASE_URL": postgres,
            "LLMRING_KAFKA_BOOTSTRAP": kafka,
            "LLMRING_REDIS_URL": redis,
            "LLMRING_LOG_FORMAT": "text",
            "LLMRING_ANONYMOUS_REQUESTS_PER_MINUTE": "1000000",
            **settings,
        }
        for kind in ("principal", "receipts", "webhooks"):
            for line in self.run("keys", kind).splitlines():
                name, _, value = line.partition("=")
                self.environment[name] = value
        self.processes: dict[str, Process] = {}
        for name in (*(each for each in NAMES if each != "gateway"), "gateway"):
            self.processes[name] = process = Process(name, folder, dict(self.environment))
            self.environment[f"LLMRING_{name.upper()}_URL"] = process.url
        for process in self.processes.values():
            process.environment = {**self.environment, **process.environment}

    def run(self, *arguments: str, check: bool = True) -> str:
        """Run a command of the program to its end; what it printed."""
        done = subprocess.run(
            [*PROGRAM, *arguments],
            check=False,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        """Migrate, start everything at once, and wait until all is ready."""
        self.run("migrate")
        for process in self.processes.values():
            process.spawn()
        for process in self.processes.values():
            process.wait_ready()

    def stop(self) -> dict[str, int]:
        """SIGTERM to all; their exit statuses."""
        for process in self.processes.values():
            if process.process is not None and process.process.poll() is None:
                process.process.send_signal(signal.SIGCONT)
                process.process.send_signal(signal.SIGTERM)  # once: a second one ends it at once
        return {
            name: process.process.wait(timeout=40)
            for name, process in self.processes.items()
            if process.process is not None
        }

    @property
    def url(self) -> str:
        """Of the public door."""
        return self.processes["gateway"].url

    def __getitem__(self, name: str) -> Process:
        return self.processes[name]


def wait_until(condition: Any, within_s: float, complaint: Any = lambda: "it did not come true") -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.05)
