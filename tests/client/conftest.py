"""A client's server: a fake one, or a real one, and environments in which the built client is installed."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmring.api import APIService
from tests.client.environments import install_built
from tests.client.fake import FakeServer, open_fake
from tests.conftest import leave_out
from tests.live.conftest import account, operator, server  # noqa: F401 - fixtures, used as they are
from tests.servers.server import MissingServerError

FOREIGN = Path(__file__).parents[2] / "client" / "src"
"""What a program that is not ours has on its path."""

KEY = "llmr_pk_" + "5ec2e7" * 8


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LLMRING_API_URL", "LLMRING_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LLMRING_API_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("LLMRING_API_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with open_fake() as made:
        yield made


@pytest.fixture
def api(fake: FakeServer) -> Iterator[APIService]:
    """A service of the fake server, which sends queued records when it is told to."""
    with open_api(fake) as made:
        yield made


def open_api(fake: FakeServer, **settings: Any) -> APIService:
    return APIService(fake.url, KEY, **({"flush_interval_s": 3600.0} | settings))


class Programs:
    """Runs Python of an environment with the built client, in a home folder of its own."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.home = home

    def environment(self, **variables: str) -> dict[str, str]:
        """All that a program sees of this one's."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("LLMRING_", "PYTHON"))
        }
        return {**kept, "HOME": str(self.home), **variables}

    def run(self, *arguments: str, **variables: str) -> str:
        """What it prints; it must succeed."""
        done = subprocess.run(
            [self.folder / "python", *arguments],
            env=self.environment(**variables),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def built(tmp_path: Path) -> Callable[[str | None], Programs]:
    """`built(None)`, `built("llmring==1.4.0")`: the built client alone, or beside something."""
    home = tmp_path / "home"
    home.mkdir()

    def find(beside: str | None) -> Programs:
        try:
            return Programs(install_built(beside), home)
        except MissingServerError as error:
            leave_out("client", error)

    return find
