from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from services.webhooks.service import SCHEMA
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.postgres import Schema
from tests.webhooks.house import House, Street, migrate_street
from tests.webhooks.receiver import Receiver


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


@pytest.fixture
async def receiver(street: Street) -> Receiver:
    return await Receiver().open(street.stack)
