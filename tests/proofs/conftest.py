"""The verifier that is not ours."""

from pathlib import Path

import pytest

from tests.conftest import leave_out
from tests.proofs.stranger import find_stranger
from tests.servers.server import MissingServerError


@pytest.fixture(scope="session")
def stranger() -> Path:
    """A Go program over `golang.org/x/mod/sumdb` and `transparency-dev`; see `ask_stranger`."""
    try:
        return find_stranger()
    except MissingServerError as error:
        leave_out("Go", error)
