"""Fixtures that give a test a real server.

The shared servers start at the first use and serve all xdist workers; the controller stops them at the end.
Where one cannot run, its tests are skipped and the summary says so, except with `CI=true` or
`LLMRING_TEST_ALL=1`: there, a missing server is a failure.
"""

import asyncio
import functools
import os
import secrets
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

import httpx
import pytest
from filelock import FileLock

from shared.postgres import Schema, migrate, open_connection
from tests.servers.redis import ask_redis
from tests.servers.server import MissingServerError, Server
from tests.servers.session import (
    close_session,
    open_session,
    session_folder,
    shared_address,
    start_server,
    write_note,
)

# Each client would read the machine's 150 certificates anew, and tests make thousands of clients.
httpx._transports.default.create_ssl_context = functools.cache(httpx.create_ssl_context)

_MISSING = "server missing: "
T = TypeVar("T")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("LLMRING_TEST_SEED", str(secrets.randbits(32)))
    if not hasattr(config, "workerinput"):
        open_session()


def pytest_report_header() -> str:
    return f"LLMRING_TEST_SEED={os.environ['LLMRING_TEST_SEED']}  (set it to repeat this run's random tests)"


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        close_session()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    left_out: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if _MISSING in reason:
            what = reason.split(_MISSING, 1)[1]
            left_out[what] = left_out.get(what, 0) + 1
    for what, count in sorted(left_out.items()):
        terminalreporter.write_line(f"NOT TESTED: {count} tests, since {what}", red=True, bold=True)


def leave_out(kind: str, error: MissingServerError) -> NoReturn:
    """Skip the test, or fail it where nothing may be left out."""
    if os.environ.get("CI") == "true" or os.environ.get("LLMRING_TEST_ALL") == "1":
        pytest.fail(f"{_MISSING}{kind}: {error}", pytrace=False)
    pytest.skip(f"{_MISSING}{kind}: {error}")


def _shared(kind: str) -> str:
    try:
        return shared_address(kind)
    except MissingServerError as error:
        leave_out(kind, error)


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a loop of its own, whatever loop the test's thread has."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


async def _execute(url: str, statement: str) -> None:
    connection = await open_connection(url, application_name="llmring-tests")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@functools.cache
def _prepare_template(address: str, schemas: tuple[Schema, ...]) -> str:
    """A database that is migrated once for all workers, to be copied from; tells its name."""
    name = "_".join(("template", *(schema.name for schema in schemas)))
    done = session_folder() / name
    with FileLock(f"{done}.lock"):
        if not done.exists():
            admin = f"postgresql://postgres@{address}/postgres"
            _run(_execute(admin, f"DROP DATABASE IF EXISTS {name}"))
            _run(_execute(admin, f"CREATE DATABASE {name} TEMPLATE template0"))
            _run(migrate(f"postgresql://postgres@{address}/{name}", schemas))
            done.touch()
    return name


@pytest.fixture
def postgres_schemas() -> tuple[Schema, ...]:
    """What a fresh database is migrated to. A folder whose tests all begin with that names its schemas."""
    return ()


@pytest.fixture
def postgres_url(postgres_schemas: tuple[Schema, ...]) -> Iterator[str]:
    """A fresh database on the shared server, empty but for `postgres_schemas`; dropped afterwards."""
    address = _shared("postgres")
    admin = f"postgresql://postgres@{address}/postgres"
    name = f"test_{secrets.token_hex(8)}"
    template = _prepare_template(address, postgres_schemas) if postgres_schemas else "template0"
    _run(_execute(admin, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
    yield f"postgresql://postgres@{address}/{name}"
    _run(_execute(admin, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def kafka_bootstrap() -> str:
    """`host:port` of the shared broker. Use topics and groups with names of your own: see `unique_name`."""
    return _shared("kafka")


@pytest.fixture
def redis_url(worker_id: str) -> str:
    """An empty database of the shared Redis, used by no other test at the same time."""
    address = _shared("redis")
    number = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 0
    ask_redis(address, f"SELECT {number}", "FLUSHDB")
    return f"redis://{address}/{number}"


class StartServer(Protocol):
    """Starts a server that belongs to one test, for tests that kill, freeze and restart it."""

    def __call__(self, kind: str, *, durable: bool = True) -> Server: ...


@pytest.fixture
def own_server() -> Iterator[StartServer]:
    """`own_server("postgres" | "kafka" | "redis")`: a started server of the test's own.

    Postgres is durable here (fsync on), unless `durable=False`.
    """
    started: list[tuple[Server, Path]] = []

    def start(kind: str, *, durable: bool = True) -> Server:
        name = f"{kind}-{secrets.token_hex(4)}"
        try:
            server = start_server(kind, session_folder() / name, durable=durable)
        except MissingServerError as error:
            leave_out(kind, error)
        started.append((server, write_note(name, server)))
        return server

    yield start
    for server, note in started:
        server.destroy()
        note.unlink()


@pytest.fixture
def unique_name() -> Callable[[str], str]:
    """Makes names that no other test uses: `unique_name("usage.logged")`."""
    return lambda stem: f"{stem}.{secrets.token_hex(6)}"
