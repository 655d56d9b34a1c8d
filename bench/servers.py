"""What a measurement runs on: one Postgres, the reference server and ours, each a process of its own."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.servers.process import find_free_port

REFERENCE = ("llmring-server==0.1.3", "fastapi<0.122")
CACHE = Path(os.environ.get("LLMRING_BENCH_CACHE", Path.home() / ".cache" / "llmring-bench"))


def postgres_tools() -> Path:
    """The newest Debian Postgres with its contrib extensions (the reference server needs pgcrypto)."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if not found:
        sys.exit("Debian's Postgres is needed here: apt-get install postgresql postgresql-contrib")
    return found[-1].parent


@contextlib.contextmanager
def run_postgres() -> Iterator[Callable[[str], str]]:
    """A fresh Postgres with its defaults, so durable; gives a function that makes a database of a name."""
    tools, port = postgres_tools(), find_free_port()
    as_root = os.geteuid() == 0
    folder = Path(tempfile.mkdtemp(prefix="llmring-bench-"))
    user = pwd.getpwnam("postgres") if as_root else None
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)

    def tool(name: str, *arguments: str) -> None:
        prefix = ["runuser", "-u", "postgres", "--"] if as_root else []
        subprocess.run(
            [*prefix, str(tools / name), *arguments], check=True, cwd=folder, stdout=subprocess.DEVNULL
        )

    data = str(folder / "data")
    tool("initdb", "-D", data, "-U", "postgres", "--auth=trust")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c max_connections=200"
    tool("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")

    def create(name: str) -> str:
        tool("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", name)
        return f"postgresql://postgres@127.0.0.1:{port}/{name}"

    try:
        yield create
    finally:
        tool("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def reference_environment() -> Path:
    """The environment of the reference server, installed at the first use."""
    folder = CACHE / "reference"
    if not (folder / "bin" / "llmring-server").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *REFERENCE], check=True)
    return folder / "bin"


@contextlib.contextmanager
def run_server(
    command: list[str], environment: dict[str, str], url: str, log: Path, *, health: str = "/health"
) -> Iterator[None]:
    """A server process, from the moment it answers its health path until it is told to stop."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(f"{url}{health}", timeout=1).close()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
