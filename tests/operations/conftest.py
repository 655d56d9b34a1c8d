"""Works on either event log: Postgres, or a Kafka that is empty then, since topics have fixed names."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from services.all_in_one import SCHEMAS
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.postgres import Schema
from tests.conftest import leave_out
from tests.operations.works import Works, open_works
from tests.servers.server import MissingServerError, Server
from tests.servers.session import session_folder, start_server, write_note


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def broker() -> Iterator[Server]:
    """A broker for this worker alone, for one test after the other."""
    name = f"kafka-{secrets.token_hex(4)}"
    try:
        server = start_server("kafka", session_folder() / name)
    except MissingServerError as error:
        leave_out("kafka", error)
    note = write_note(name, server)
    yield server
    server.destroy()
    note.unlink()


async def forget_topics(address: str) -> None:
    """Leave a broker as empty as it was; what groups have noted of a topic goes with it."""
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        async with asyncio.timeout(60):
            while topics := [name for name in await admin.list_topics() if not name.startswith("__")]:
                await admin.delete_topics(topics)
    finally:
        await admin.close()


@pytest.fixture
def postgres_schemas() -> tuple[Schema, ...]:
    return (EVENT_LOG_SCHEMA, *SCHEMAS)


@pytest.fixture
async def works(
    kind: str, postgres_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Works]:
    if kind == "postgres":
        async with open_works(kind, postgres_url, postgres_url, tmp_path) as opened:
            yield opened
        return
    server: Server = request.getfixturevalue("broker")
    try:
        async with open_works(kind, server.address, postgres_url, tmp_path) as opened:
            yield opened
    finally:
        await forget_topics(server.address)
