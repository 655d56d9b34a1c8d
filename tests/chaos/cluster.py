"""The whole deployment as processes of this machine: servers, services, two of each consumer."""

import asyncio
import secrets
import shutil
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import aiohttp

from tests.chaos.brokers import Brokers
from tests.chaos.link import Link
from tests.chaos.program import Program
from tests.chaos.reaper import end_processes, start_reaper
from tests.servers.postgres import PostgresProcess
from tests.servers.process import find_free_port
from tests.servers.redis import RedisProcess

SERVICES: Final = ("gateway", "registry", "auth", "receipts", "webhooks")
"""One process each; of ingest there are two behind one address, as behind a Kubernetes service."""

INGESTS: Final = ("ingest-1", "ingest-2")
CONSUMERS: Final = ("rater-1", "rater-2", "issuer-1", "issuer-2")
_READY_S: Final = 90.0


class Cluster:
    """Made by `Cluster()`, then `await start()`, then in any case `await destroy()`.

    Attributes:
        programs: the product's processes by name.
        postgres: reached by the product over `links["postgres"]`, by us directly at `database_url`.
        redis: the same, over `links["redis"]`.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="llmring-chaos-"))
        self.folder.chmod(0o711)  # Postgres may run as another user
        self._reaper = start_reaper(self.folder)
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        self.postgres = PostgresProcess(self.folder / "postgres", durable=True)
        self.redis = RedisProcess(self.folder / "redis")
        self.brokers = Brokers(self.folder / "kafka")
        self.links = {"postgres": Link([self.postgres.address]), "redis": Link([self.redis.address])}
        self.database_url = f"postgresql://postgres@{self.postgres.address}/postgres"
        self.programs: dict[str, Program] = {}
        self.operator_key = ""
        self.started_in_s = 0.0
        self._environment: dict[str, str] = {}
        self._common = {
            "LLMRING_DATABASE_URL": f"postgresql://postgres@{self.links['postgres'].address}/postgres",
            "LLMRING_KAFKA_BOOTSTRAP": self.brokers.bootstrap,
            "LLMRING_REDIS_URL": f"redis://{self.links['redis'].address}/0",
            "LLMRING_ANONYMOUS_REQUESTS_PER_MINUTE": "1000000",
        }

    @property
    def url(self) -> str:
        """The public door."""
        return self.programs["gateway"].url

    async def start(self) -> None:
        """Start the servers, migrate, start every process at once, and wait until all are ready."""
        started = time.monotonic()
        await asyncio.gather(
            asyncio.to_thread(self.postgres.start), asyncio.to_thread(self.redis.start), self.brokers.start()
        )
        for link in self.links.values():
            await link.open()
        admin = Program("admin", (), self._common, self.logs)
        await asyncio.to_thread(admin.run, "migrate", seconds=120)
        self._describe(_secrets(await asyncio.to_thread(admin.run, "keys", "principal")))
        await self.links["ingest"].open()
        for program in self.programs.values():
            program.start()
        await self.await_ready(self.programs.values(), _READY_S)
        self.operator_key = (await asyncio.to_thread(admin.run, "keys", "create", "--operator")).split()[-1]
        self.started_in_s = time.monotonic() - started

    def _describe(self, keys: dict[str, str]) -> None:
        """Give every process its address, its command line and its environment."""
        ports = {name: find_free_port() for name in (*SERVICES, "ingest")}
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        self._environment = {
            **self._common,
            **keys,
            "LLMRING_PUBLIC_URL": urls["gateway"],
            "LLMRING_RECEIPTS_SIGNING_SEED": b64encode(secrets.token_bytes(32)).decode(),
            "LLMRING_WEBHOOKS_KEY": b64encode(secrets.token_bytes(32)).decode(),
            **{f"LLMRING_{name.upper()}_URL": url for name, url in urls.items() if name != "gateway"},
        }
        for name in SERVICES:
            self.programs[name] = self._program("serve", name, ports[name])
        for name in INGESTS:
            self.programs[name] = self._program("serve", name)
        for name in CONSUMERS:
            self.programs[name] = self.describe_consumer(name)
        self.links["ingest"] = Link([self.programs[name].address for name in INGESTS], ports["ingest"])

    def describe_consumer(self, name: str) -> Program:
        """One more instance of a consumer, not started; `rater-3` is a rater."""
        return self._program("worker", name)

    def _program(self, command: str, name: str, port: int | None = None) -> Program:
        return Program(name, (command, name.partition("-")[0]), self._environment, self.logs, port)

    async def await_ready(self, programs: Iterable[Program], seconds: float) -> None:
        """Wait until each says that it is ready.

        Raises:
            TimeoutError: one did not; the text names it and ends with its log.
        """
        deadline = time.monotonic() + seconds
        async with aiohttp.ClientSession() as session:
            for program in programs:
                while not await program.is_ready(session):
                    if time.monotonic() > deadline:
                        tail = program.log.read_text(errors="replace")[-3000:]
                        raise TimeoutError(f"{program.name} is not ready after {seconds:.0f} s\n{tail}")
                    await asyncio.sleep(0.1)

    async def destroy(self) -> None:
        """End everything, and forget it."""
        for program in self.programs.values():
            program.end()
        for link in self.links.values():
            await link.close()
        await self.brokers.close()
        await asyncio.to_thread(end_processes, self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._reaper.stdin is not None:
            self._reaper.stdin.close()
        await asyncio.to_thread(self._reaper.wait)

    def keep_logs(self, target: Path) -> None:
        """Copy the logs of all processes and servers to a folder."""
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.logs, target)
        for server in (self.postgres, self.redis, *self.brokers.servers.values()):
            if server.log.exists():
                shutil.copy(server.log, target / f"{server.folder.name}.server.log")


def _secrets(printed: str) -> dict[str, str]:
    """The lines `NAME=value` as an environment."""
    return dict(line.split("=", 1) for line in printed.splitlines() if line.startswith("LLMRING_"))
