"""Programs in Node, and a server on a Kafka without anybody else's records."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer, leave_out
from tests.events.node import find_node, install
from tests.live.conftest import data_dir  # noqa: F401 - a fixture of theirs, used as it is
from tests.live.process import ServerProcess
from tests.servers.server import MissingServerError, Server


@pytest.fixture(scope="session")
def node() -> Path:
    """A node that is new enough."""
    try:
        return find_node()
    except MissingServerError as error:
        leave_out("node", error)


@pytest.fixture(scope="session")
def validator(node: Path) -> list[str]:
    """The command that validates an AsyncAPI document from its standard input."""
    package = Path(__file__).parent / "validator"
    try:
        modules = install(package)
    except MissingServerError as error:
        leave_out("node", error)
    return [str(node), str(package / "validate.mjs"), str(modules)]


@pytest.fixture
def kafka(own_server: StartServer) -> Server:
    """A broker of the test's own, since the topics have the same names in every deployment."""
    return own_server("kafka")


@pytest.fixture
def on_kafka(
    data_dir: Path,  # noqa: F811 - the fixture above
    postgres_url: str,
    kafka: Server,
) -> Iterator[ServerProcess]:
    """A server on Kafka and a Postgres from outside."""
    process = ServerProcess(
        data_dir, LLMRING_DATABASE_URL=postgres_url, LLMRING_KAFKA_BOOTSTRAP=kafka.address
    )
    process.start()
    yield process
    process.stop()
