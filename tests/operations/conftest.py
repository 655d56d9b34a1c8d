"""Works on either event log: Postgres, or a Kafka of the test's own, since topics have fixed names."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.event_log.servers import log_address
from tests.operations.works import Works, open_works


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def works(
    kind: str, postgres_url: str, own_server: StartServer, tmp_path: Path
) -> AsyncIterator[Works]:
    address = postgres_url if kind == "postgres" else log_address(kind, own_server("kafka"))
    async with open_works(kind, address, postgres_url, tmp_path) as opened:
        yield opened
