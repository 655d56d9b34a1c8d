"""A server as a process of this machine."""

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

_PSUTIL: Any = psutil  # its functions carry no annotations
_MAX_RESERVED = 200
_reserved: deque[socket.socket] = deque()


def process_lives(pid: int) -> bool:
    """Whether there is a process of that number."""
    return bool(_PSUTIL.pid_exists(pid))


def find_free_port() -> int:
    """A TCP port that nobody listens on, below the range from which outgoing connections get theirs.

    Whoever asks listens later, so a number could be given away twice. The UDP port of the same number is held
    as a sign that it is taken, to other processes too: while this one lives, or until many more are asked.
    """
    while True:
        port = random.randint(20_000, 32_000)
        reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with socket.socket() as probe, contextlib.suppress(OSError):
            reservation.bind(("127.0.0.1", port))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            _reserved.append(reservation)
            if len(_reserved) > _MAX_RESERVED:
                _reserved.popleft().close()
            return port
        reservation.close()


def answers(address: str) -> bool:
    """Whether something accepts connections at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def wait_until(ready: Callable[[], bool], seconds: float, what: str, log: Path | None = None) -> None:
    """Poll until `ready` says so; the error carries the end of the server's log."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ready():
            return
        time.sleep(0.03)
    tail = log.read_text(errors="replace")[-3000:] if log is not None and log.exists() else ""
    raise TimeoutError(f"{what} did not answer within {seconds:.0f} s\n{tail}")


def destroy_process(pid: int, folder: Path, stop_signal: signal.Signals = signal.SIGKILL) -> None:
    """End a server and its children, if `pid` is still the one that lives in `folder`."""
    try:
        process = _PSUTIL.Process(pid)
        # The number may belong to somebody else by now. Servers live in their folder, and some rewrite
        # their command line.
        if not Path(process.cwd()).is_relative_to(folder):
            return
        if stop_signal is not signal.SIGKILL:
            signal_all(pid, signal.SIGCONT)
            process.send_signal(stop_signal)
            with contextlib.suppress(_PSUTIL.TimeoutExpired):
                process.wait(timeout=5)
    except _PSUTIL.Error:
        pass
    signal_all(pid, signal.SIGKILL)


def signal_all(pid: int, number: signal.Signals) -> None:
    """Send a signal to a server and to its children; those of Postgres have left its process group."""
    with contextlib.suppress(_PSUTIL.NoSuchProcess):
        server = _PSUTIL.Process(pid)
        for process in [server, *server.children(recursive=True)]:
            with contextlib.suppress(_PSUTIL.NoSuchProcess):
                process.send_signal(number)


class ServerProcess:
    """The parts that Postgres, Kafka and Redis have in common when they run here."""

    name = "server"
    stop_signal = signal.SIGTERM
    start_seconds = 60.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.port = find_free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Create the data, at the first start."""

    def command(self) -> Sequence[str]:
        """The command line; the folder is part of it."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether it serves."""
        return answers(self.address)

    def user(self) -> str | None:
        """The system user that it runs as; None for this one."""
        return None

    def start(self) -> None:
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            self.prepare()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                user=self.user(),
                group=find_group(self.user()),
                extra_groups=None if self.user() is None else [],
            )
        process = self._process

        def started_or_dead() -> bool:
            if process.poll() is not None:
                raise RuntimeError(
                    f"{self.name} ended at its start\n{self.log.read_text(errors='replace')[-3000:]}"
                )
            return self.ready()

        wait_until(started_or_dead, self.start_seconds, self.name, self.log)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            signal_all(self._process.pid, number)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        # The port must be free again before anyone is told that the server is gone.
        wait_until(lambda: not answers(self.address), 10, f"the end of {self.name}")

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is None:
            return
        self.resume()
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def destroy(self) -> None:
        if self._process is not None and self._process.poll() is None:
            destroy_process(self._process.pid, self.folder, self.stop_signal)
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def handle(self) -> dict[str, str]:
        if self._process is None:
            return {}
        return {"pid": str(self._process.pid), "folder": str(self.folder), "signal": self.stop_signal.name}


def find_group(user: str | None) -> int | None:
    """The primary group of a user; None for the present one."""
    if user is None:
        return None
    import pwd

    return pwd.getpwnam(user).pw_gid
