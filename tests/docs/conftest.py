"""A server in a folder that looks like the reader's, with the page's variables set."""

import contextlib
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import httpx
import pytest

from tests.docs.pages import ROOT
from tests.live.conftest import open_folder, server  # noqa: F401 - `server` is a fixture of theirs, used as it is
from tests.live.process import ServerProcess
from tests.live.test_client import client_bin  # noqa: F401 - likewise


class Stage(NamedTuple):
    """Where a page's blocks run."""

    server: ServerProcess
    folder: Path
    environment: dict[str, str]


StageMaker = Callable[..., Stage]


def leave_out(reason: str) -> NoReturn:
    """Skip the test, named in the summary as one that this machine cannot run; where all must run, fail."""
    if os.environ.get("CI") == "true" or os.environ.get("LLMRING_TEST_ALL") == "1":
        pytest.fail(f"server missing: {reason}", pytrace=False)
    pytest.skip(f"server missing: {reason}")


@pytest.fixture
def set_stage() -> Iterator[StageMaker]:
    """Makes the stage: a fresh server on `data` in the folder, and the project's environment as `.venv`.

    `with_account` also registers an account and sets the two variables that the README's tour sets.
    """
    stack = contextlib.ExitStack()
    for program in ("bash", "curl"):
        if shutil.which(program) is None:
            leave_out(f"{program}: it is not installed")
    started: list[ServerProcess] = []
    folder = stack.enter_context(open_folder())

    def make(*, with_account: bool) -> Stage:
        process = ServerProcess(folder / "data")
        process.start()
        started.append(process)
        (folder / ".venv").symlink_to(sys.prefix)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LLMRING_")},
            "HOME": str(folder),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'client' / 'src'}",
            "PYTHONWARNINGS": "ignore",
        }
        if with_account:
            environment["LLMRING_SERVER_URL"] = process.url
            environment["LLMRING_API_KEY"] = _register(process)
        return Stage(process, folder, environment)

    with stack:
        yield make
        for process in started:
            assert process.stop() == 0


def _register(process: ServerProcess) -> str:
    account = {"email": f"{uuid.uuid4().hex}@example.com", "password": "correct horse battery"}
    answer = httpx.post(f"{process.url}/api/v1/register", json=account)
    answer.raise_for_status()
    key: str = answer.json()["api_key"]
    return key
