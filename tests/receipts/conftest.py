from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from services.receipts.service import SCHEMA
from shared.postgres import Schema
from tests.proofs.conftest import stranger
from tests.receipts.event_log import EVENT_LOG_SCHEMA
from tests.receipts.house import House, Street, migrate_street


@pytest.fixture
def postgres_schemas() -> tuple[Schema, ...]:
    return (EVENT_LOG_SCHEMA, SCHEMA)


@pytest.fixture
async def street(postgres_url: str, tmp_path: Path) -> AsyncIterator[Street]:
    await migrate_street(postgres_url)
    async with AsyncExitStack() as stack:
        yield Street(postgres_url, tmp_path, stack)


@pytest.fixture
async def house(street: Street) -> House:
    return await street.open_house()


__all__ = ["stranger"]
