"""Where the shared servers are, for the streets of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.prices import serve_registry
from tests.faults.street import Servers


@pytest.fixture
async def servers(
    postgres_url: str, kafka_bootstrap: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Servers]:
    """Real servers, and a registry."""
    address = postgres_url.split("@")[1].split("/", maxsplit=1)[0]
    async with serve_registry() as registry:
        yield Servers(address, kafka_bootstrap, redis_url, registry, tmp_path)
