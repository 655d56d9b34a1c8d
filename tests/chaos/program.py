"""One process of the product: what `docker run` would start, here as a process of this machine."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp

from tests.servers.process import find_free_port

ROOT = Path(__file__).parents[2]
_TERM_S = 30.0


class Program:
    """`llmring-api ...` with an environment, a port and a log of its own."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        logs: Path,
        port: int | None = None,
    ) -> None:
        self.name = name
        self.port = port or find_free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self.log = logs / f"{name}.log"
        self.expected = False
        """Whether it ought to be running now, so that its end would be its own fault."""
        self._arguments = arguments
        self._folder = logs.parent
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("LLMRING_", "OTEL_"))},
            "PYTHONPATH": str(ROOT),
            "LLMRING_PORT": str(self.port),
            "LLMRING_LOG_FORMAT": "json",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def kind(self) -> str:
        """The name without its number: `rater` of `rater-2`."""
        return self.name.partition("-")[0]

    def start(self) -> None:
        """Start it; it is ready later."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services", *self._arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )
        self.expected = True

    def find_exit(self) -> int | None:
        """The exit status, if it has ended."""
        return None if self._process is None else self._process.poll()

    async def kill(self) -> None:
        """`kill -9`."""
        self.expected = False
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    async def terminate(self) -> tuple[int, float]:
        """SIGTERM, and wait for the end: the status, -9 if it did not end, and the seconds it took."""
        assert self._process is not None
        self.expected = False
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            status = await asyncio.to_thread(self._process.wait, _TERM_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = await asyncio.to_thread(self._process.wait)
        return status, time.monotonic() - started

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections and does nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Let nothing of it live."""
        self.expected = False
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def is_ready(self, session: aiohttp.ClientSession) -> bool:
        """What it says of itself."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with session.get(
                f"{self.url}/health/ready", timeout=aiohttp.ClientTimeout(total=3)
            ) as answer:
                return answer.status == 200
        return False

    def run(self, *arguments: str, seconds: float = 60) -> str:
        """Run another command of the program to its end, with the same environment; what it prints.

        Raises:
            RuntimeError: its status is not 0.
        """
        done = subprocess.run(
            [sys.executable, "-m", "services", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self._folder,
            timeout=seconds,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout
