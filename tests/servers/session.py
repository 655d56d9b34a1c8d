"""The servers that all tests of one run share, whichever xdist worker asks first."""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import warnings
from pathlib import Path
from typing import Final

from filelock import FileLock

from tests.servers.containers import (
    KafkaContainer,
    PostgresContainer,
    RedisContainer,
    docker_answers,
    remove_container,
)
from tests.servers.kafka import KafkaProcess
from tests.servers.postgres import PostgresProcess
from tests.servers.process import destroy_process, process_lives
from tests.servers.redis import RedisProcess
from tests.servers.server import MissingServerError, Server

_VARIABLE: Final = "LLMRING_TEST_SESSION"
_PREFIX: Final = "llmring-tests-"


def open_session() -> None:
    """Make the folder of this run (in the controller, before there are workers); sweep after dead runs."""
    for stale in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = stale.name.removeprefix(_PREFIX).split("-")[0]
        if owner.isdecimal() and not process_lives(int(owner)):
            _destroy(stale)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    folder.chmod(0o711)  # Postgres may run as another user
    os.environ[_VARIABLE] = str(folder)


def session_folder() -> Path:
    """The folder of this run."""
    return Path(os.environ[_VARIABLE])


def close_session() -> None:
    """Stop every server of this run (in the controller, at the very end)."""
    folder = os.environ.pop(_VARIABLE, None)
    if folder is not None:
        _destroy(Path(folder))


def build_server(kind: str, folder: Path, *, durable: bool = True) -> Server:
    """A server that is not started yet: a container where Docker answers, else a process.

    Raises:
        MissingServerError: this machine has neither.
    """
    if docker_answers():
        match kind:
            case "postgres":
                return PostgresContainer(durable=durable)
            case "kafka":
                return KafkaContainer()
            case _:
                return RedisContainer()
    return build_process(kind, folder, durable=durable)


def build_process(kind: str, folder: Path, *, durable: bool = True) -> Server:
    """A server that is not started yet, as a process of this machine."""
    match kind:
        case "postgres":
            return PostgresProcess(folder, durable=durable)
        case "kafka":
            return KafkaProcess(folder)
        case _:
            return RedisProcess(folder)


def start_server(kind: str, folder: Path, *, durable: bool = True) -> Server:
    """A started server. A container that fails (no image, no network) gives way to a process."""
    server = build_server(kind, folder, durable=durable)
    try:
        server.start()
    except Exception as error:
        server.destroy()
        if isinstance(error, MissingServerError) or not docker_answers():
            raise
        warnings.warn(
            f"the container for {kind} did not start, a process takes its place: {error}", stacklevel=2
        )
        server = build_process(kind, folder, durable=durable)
        server.start()
    return server


def shared_address(kind: str) -> str:
    """The `host:port` of the run's own server, started at the first call of all workers.

    Raises:
        MissingServerError: this machine cannot run it.
    """
    folder = session_folder()
    note = folder / f"{kind}.json"
    with FileLock(folder / f"{kind}.lock"):
        if not note.exists():
            try:
                server = start_server(kind, folder / kind, durable=False)
            except MissingServerError as error:
                note.write_text(json.dumps({"missing": str(error)}))
            else:
                note.write_text(json.dumps({"address": server.address, **server.handle()}))
        noted = json.loads(note.read_text())
    if "missing" in noted:
        raise MissingServerError(noted["missing"])
    return str(noted["address"])


def write_note(name: str, server: Server) -> Path:
    """Put a test's own server on record, so that it is stopped even when its test was killed."""
    note = session_folder() / f"{name}.json"
    note.write_text(json.dumps(server.handle()))
    return note


def _destroy(folder: Path) -> None:
    for note in folder.glob("*.json"):
        with contextlib.suppress(ValueError):
            noted = json.loads(note.read_text())
            if "container" in noted:
                remove_container(noted["container"])
            elif "pid" in noted:
                destroy_process(int(noted["pid"]), Path(noted["folder"]), signal.Signals[noted["signal"]])
    shutil.rmtree(folder, ignore_errors=True)
