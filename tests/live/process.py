"""The product as its user runs it: `llmring-api serve`, a process with a data directory of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from tests.servers.process import find_free_port

READY_S = 60
COMMAND = (sys.executable, "-m", "services", "serve")


class ServerProcess:
    """One `llmring-api serve`, or another `command`; it keeps its data and its port over a restart.

    Whatever this process has set of the program is left out of its environment; `environment` is added.
    """

    def __init__(self, data_dir: Path, command: Sequence[str] = COMMAND, **environment: str) -> None:
        self.data_dir = data_dir
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data_dir.with_suffix(".log")
        self.command = list(command)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("LLMRING_")},
            "LLMRING_LOG_FORMAT": "text",
            "LLMRING_ANONYMOUS_REQUESTS_PER_MINUTE": "1000000",
            **environment,
            "LLMRING_PORT": str(self.port),
            "LLMRING_DATA_DIR": str(data_dir),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Start it, without waiting for anything."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_ready(self) -> bool:
        """What its readiness probe says; raises when the process has ended."""
        assert self.process is not None
        assert self.process.poll() is None, f"it ended:\n{self.tail()}"
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def wait_ready(self) -> None:
        """Wait until it is ready."""
        deadline = time.monotonic() + READY_S
        while not self.is_ready():
            assert time.monotonic() < deadline, f"not ready after {READY_S} s:\n{self.tail()}"
            time.sleep(0.05)

    def start(self) -> float:
        """Start it and wait until it is ready; how many seconds that took."""
        started = time.monotonic()
        self.spawn()
        self.wait_ready()
        return time.monotonic() - started

    def kill(self) -> None:
        """`kill -9`: the process has no chance to do anything more."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10)

    def stop(self) -> int:
        """SIGTERM, and wait for the end; its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=40)

    @property
    def operator_key(self) -> str:
        """The key that the first start made."""
        return (self.data_dir / "operator.key").read_text().strip()

    def tail(self, lines: int = 60) -> str:
        """The end of what it logged."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
