import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from shared.proofs.tlog.note import VerifierKey
from shared.proofs.tlog.witness import AddCheckpoint
from tests.live.process import ServerProcess
from tests.proofs.conftest import stranger

PROGRAM = (sys.executable, "-m", "services", "witness")


class WitnessProcess(ServerProcess):
    """`llmring-api witness serve`, with a key and a state of its own."""

    def __init__(self, folder: Path, *logs: VerifierKey) -> None:
        folder.mkdir()
        self.files = {
            "LLMRING_WITNESS_KEY_FILE": str(folder / "witness.key"),
            "LLMRING_WITNESS_STATE_FILE": str(folder / "witness.db"),
            "LLMRING_WITNESS_EVIDENCE": str(folder / "evidence"),
            "LLMRING_WITNESS_LOGS": "\n".join(each.text for each in logs),
        }
        super().__init__(folder, (*PROGRAM, "serve"), **self.files)
        self.folder = folder
        self.verifier = VerifierKey.parse(self.run("key", "--name", "witness.example").stdout)

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Another command with the same files."""
        done = subprocess.run(
            [*PROGRAM, *arguments],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def ask(self, request: AddCheckpoint | bytes) -> httpx.Response:
        body = request if isinstance(request, bytes) else request.encode()
        return httpx.post(f"{self.url}/add-checkpoint", content=body, timeout=30)

    def evidence(self) -> list[str]:
        """The names of its files of evidence."""
        return sorted(path.name for path in (self.folder / "evidence").glob("*"))


OpenWitness = Callable[..., WitnessProcess]


@pytest.fixture
def make_witness(tmp_path: Path) -> OpenWitness:
    """Makes the files of a witness."""
    return lambda *logs: WitnessProcess(tmp_path / f"w{len(list(tmp_path.glob('w*')))}", *logs)


@pytest.fixture
def open_witness(make_witness: OpenWitness) -> Iterator[OpenWitness]:
    """Makes them and starts it."""
    opened: list[WitnessProcess] = []

    def start(*logs: VerifierKey) -> WitnessProcess:
        witness = make_witness(*logs)
        opened.append(witness)
        witness.start()
        return witness

    yield start
    for each in opened:
        if each.process is not None:
            each.process.kill()
            each.process.wait(timeout=10)


__all__ = ["stranger"]
