from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from services.ingest.service import SCHEMA
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.postgres import Schema
from tests.chaos.link import Link
from tests.ingest.house import Street, open_street


@pytest.fixture
def postgres_schemas() -> tuple[Schema, ...]:
    return (SCHEMA, EVENT_LOG_SCHEMA)


@pytest.fixture
async def street(postgres_url: str) -> AsyncIterator[Street]:
    async with open_street(postgres_url) as street:
        yield street


class Way:
    """A way to a server that can be cut, or can swallow what goes over it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.link = Link([parts.netloc.rpartition("@")[2]])
        user, at, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=f"{user}{at}{self.link.address}"))


async def _open(url: str) -> AsyncIterator[Way]:
    way = Way(url)
    await way.link.open()
    yield way
    await way.link.close()


@pytest.fixture
async def to_postgres(postgres_url: str) -> AsyncIterator[Way]:
    async for way in _open(postgres_url):
        yield way


@pytest.fixture
async def to_redis(redis_url: str) -> AsyncIterator[Way]:
    async for way in _open(redis_url):
        yield way
