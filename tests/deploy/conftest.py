"""The programs that check deployment files."""

from pathlib import Path

import pytest

from tests.conftest import leave_out
from tests.deploy import tools
from tests.servers.server import MissingServerError


def _find(name: str) -> Path:
    try:
        found: Path = getattr(tools, f"find_{name}")()
    except MissingServerError as error:
        leave_out(name, error)
    return found


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm."""
    return _find("helm")


@pytest.fixture(scope="session")
def kubeconform() -> Path:
    """Kubeconform."""
    return _find("kubeconform")


@pytest.fixture(scope="session")
def kubernetes_schemas() -> Path:
    """The folder with the schemas of Kubernetes."""
    return _find("schemas")


@pytest.fixture(scope="session")
def docker_compose() -> Path:
    """Docker Compose."""
    return _find("compose")
