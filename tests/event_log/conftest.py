"""One bench for both implementations: a log, a topic, and a database for what the consumers store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from shared.contracts.topics import USAGE_DEAD
from shared.event_log import EventLog, PostgresPositions
from shared.event_log.postgres import SCHEMA
from shared.postgres import Database, Schema, open_database
from tests.event_log.results import Results, create_results
from tests.event_log.servers import open_log_at, prepare_log

OpenLog = Callable[[], Awaitable[EventLog]]


@pytest.fixture
def postgres_schemas() -> tuple[Schema, ...]:
    return (SCHEMA,)


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=pytest.mark.kafka)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def address(kind: str, postgres_url: str, request: pytest.FixtureRequest) -> str:
    """Where the log is: a fresh database, or the shared broker."""
    if kind == "postgres":
        await prepare_log(kind, postgres_url)
        return postgres_url
    return str(request.getfixturevalue("kafka_bootstrap"))


@pytest.fixture
async def open_log(kind: str, address: str) -> AsyncIterator[OpenLog]:
    """Opens the same log once more, as another process would."""
    async with AsyncExitStack() as stack:

        async def open_one() -> EventLog:
            log = await open_log_at(kind, address)
            stack.push_async_callback(log.close)
            return log

        yield open_one


@pytest.fixture
async def log(open_log: OpenLog) -> EventLog:
    return await open_log()


@pytest.fixture
async def topic(log: EventLog, unique_name: Callable[[str], str]) -> str:
    """A topic of the test's own, with three partitions."""
    name = unique_name("topic")
    await log.ensure_topics({name: 3, USAGE_DEAD: 1})
    return name


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    await create_results(postgres_url)
    opened = await open_database(postgres_url, application_name="tests")
    yield opened
    await opened.close()


@pytest.fixture
def positions(database: Database) -> PostgresPositions:
    return PostgresPositions(database, "results")


@pytest.fixture
def results(database: Database, positions: PostgresPositions) -> Results:
    return Results(database, positions)
