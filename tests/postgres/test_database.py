"""What the pool promises."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from shared.errors import UnavailableError
from shared.postgres import Database, open_connection, open_database
from tests.chaos.link import Link
from tests.conftest import StartServer
from tests.servers.process import find_free_port


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    opened = await open_database(postgres_url, application_name="tests", max_size=3)
    yield opened
    await opened.close()


async def test_a_transaction_commits_when_its_block_ends(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("CREATE TABLE kept (n integer); INSERT INTO kept VALUES (1)")
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT n FROM kept") == 1


async def test_a_transaction_that_raises_leaves_nothing(database: Database) -> None:
    async def create_and_raise() -> None:
        async with database.transaction() as connection:
            await connection.execute("CREATE TABLE lost (n integer)")
            raise KeyError

    with pytest.raises(KeyError):
        await create_and_raise()
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT to_regclass('lost')") is None


async def test_a_cancelled_transaction_leaves_nothing_and_the_pool_stays_usable(database: Database) -> None:
    started = asyncio.Event()

    async def sleep_in_transaction() -> None:
        async with database.transaction() as connection:
            await connection.execute("CREATE TABLE lost (n integer)")
            started.set()
            await connection.execute("SELECT pg_sleep(30)")

    tasks = [asyncio.create_task(sleep_in_transaction())]
    await started.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for _ in range(5):
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT to_regclass('lost')") is None


async def test_settings_of_one_transaction_do_not_leak_into_the_next(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("SET LOCAL work_mem = '7MB'")
    for _ in range(3):
        async with database.connection() as connection:
            assert await connection.fetchval("SHOW work_mem") != "7MB"


async def test_a_pool_that_is_used_up_says_unavailable_within_its_time(postgres_url: str) -> None:
    small = await open_database(
        postgres_url, application_name="tests", max_size=1, acquire_timeout=timedelta(seconds=0.2)
    )
    async with small.connection():
        with pytest.raises(UnavailableError):
            await small.ping()
    await small.ping()
    await small.close()


async def test_nobody_listening_says_unavailable() -> None:
    nowhere = f"postgresql://postgres@127.0.0.1:{find_free_port()}/postgres"
    with pytest.raises(UnavailableError):
        await open_database(nowhere, application_name="tests")
    with pytest.raises(UnavailableError):
        await open_connection(nowhere, application_name="tests")


async def test_a_deadlock_says_unavailable_so_that_the_caller_tries_again(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(
            "CREATE TABLE pair (n integer PRIMARY KEY); INSERT INTO pair VALUES (1), (2)"
        )
    both = asyncio.Barrier(2)

    async def lock(first: int, second: int) -> None:
        async with database.transaction() as connection:
            await connection.execute("SET LOCAL deadlock_timeout = '50ms'")
            await connection.execute("SELECT n FROM pair WHERE n = $1 FOR UPDATE", first)
            await both.wait()
            await connection.execute("SELECT n FROM pair WHERE n = $1 FOR UPDATE", second)

    outcomes = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "UnavailableError"]


async def test_a_mistake_in_the_sql_is_not_taken_for_an_outage(database: Database) -> None:
    with pytest.raises(Exception, match="does not exist") as caught:
        async with database.connection() as connection:
            await connection.execute("SELECT nothing FROM nowhere")
    assert not isinstance(caught.value, UnavailableError)


async def test_a_pooled_connection_that_the_server_ended_says_unavailable_at_worst(
    database: Database, postgres_url: str
) -> None:
    other = await open_connection(postgres_url, application_name="terminator")
    for _ in range(50):
        with contextlib.suppress(UnavailableError):
            await database.ping()
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'tests'"
        )
        with contextlib.suppress(UnavailableError):
            await database.ping()
    await other.close()
    for _ in range(3):  # as many as the pool holds
        with contextlib.suppress(UnavailableError):
            await database.ping()
    await database.ping()


async def test_a_copy_whose_connection_the_server_ends_says_unavailable_at_worst(
    database: Database, postgres_url: str
) -> None:
    other = await open_connection(postgres_url, application_name="terminator")
    await other.execute("CREATE TABLE copied (n integer)")
    chance = random.Random(int(os.environ["LLMRING_TEST_SEED"]))

    async def copy() -> None:
        with contextlib.suppress(UnavailableError):
            async with database.transaction() as connection:
                await connection.execute("SELECT 1")
                await asyncio.sleep(chance.random() * 0.002)
                await connection.copy_records_to_table("copied", records=[(1,)] * 50, columns=["n"])

    for _ in range(150):
        copying = [asyncio.create_task(copy()) for _ in range(3)]
        await asyncio.sleep(chance.random() * 0.004)
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'tests'"
        )
        await asyncio.gather(*copying)
    await other.close()
    for _ in range(3):  # of each connection the end may not have arrived yet
        with contextlib.suppress(UnavailableError):
            await database.ping()
    await database.ping()


async def test_the_pool_heals_after_postgres_was_killed(own_server: StartServer) -> None:
    server = own_server("postgres")
    opened = await open_database(
        f"postgresql://postgres@{server.address}/postgres", application_name="tests", min_size=3, max_size=3
    )
    await opened.ping()
    await asyncio.to_thread(server.kill)
    with pytest.raises(UnavailableError):
        await opened.ping()
    await asyncio.to_thread(server.start)
    await asyncio.gather(*(opened.ping() for _ in range(6)))
    await opened.close()


async def test_a_server_that_hangs_says_unavailable_within_the_time_of_a_statement(
    own_server: StartServer,
) -> None:
    server = own_server("postgres")
    opened = await open_database(
        f"postgresql://postgres@{server.address}/postgres",
        application_name="tests",
        acquire_timeout=timedelta(seconds=1),
        statement_timeout=timedelta(seconds=1),
    )
    await opened.ping()
    await asyncio.to_thread(server.pause)
    async with asyncio.timeout(5):
        with pytest.raises(UnavailableError):
            await opened.ping()
    await asyncio.to_thread(server.resume)
    async with asyncio.timeout(10):
        await opened.ping()
    await opened.close()


@pytest.fixture
async def link(postgres_url: str) -> AsyncIterator[tuple[Link, str]]:
    """A network between us and the server, and the database's URL over it."""
    parts = urlsplit(postgres_url)
    made = Link([f"{parts.hostname}:{parts.port}"])
    await made.open()
    yield made, parts._replace(netloc=f"{parts.username}@{made.address}").geturl()
    await made.close()


async def test_connections_that_the_network_forgot_cost_one_time_out_in_all(link: tuple[Link, str]) -> None:
    network, url = link
    opened = await open_database(
        url, application_name="tests", min_size=0, max_size=5, statement_timeout=timedelta(seconds=1)
    )

    async def hold() -> None:
        async with opened.transaction() as connection:
            await connection.execute("SELECT pg_sleep(0.2)")

    for use in (opened.ping, hold):
        await asyncio.gather(*(hold() for _ in range(5)))
        network.forget()
        async with asyncio.timeout(1.8):
            with pytest.raises(UnavailableError):
                await use()
        async with asyncio.timeout(3):
            for _ in range(5):
                await use()
    await opened.close()


async def test_a_statement_that_hangs_within_a_transaction_costs_one_time_out(
    link: tuple[Link, str],
) -> None:
    network, url = link
    opened = await open_database(url, application_name="tests", statement_timeout=timedelta(seconds=1))

    async def lose_it() -> None:
        async with opened.transaction() as connection:
            await connection.execute("SELECT 1")
            network.forget()
            await connection.execute("SELECT 1")

    async with asyncio.timeout(1.8):
        with pytest.raises(UnavailableError):
            await lose_it()
    await opened.ping()
    await opened.close()


@pytest.mark.parametrize("then", ["cut", "silence"])
async def test_a_copy_over_a_connection_that_takes_nothing_more_ends(postgres_url: str, then: str) -> None:
    parts = urlsplit(postgres_url)
    link = Link([f"{parts.hostname}:{parts.port}"])
    await link.open()
    far = await open_database(
        parts._replace(netloc=f"postgres@{link.address}").geturl(),
        application_name="tests",
        statement_timeout=timedelta(seconds=2),
    )
    try:
        async with far.connection() as connection:
            await connection.execute("CREATE TABLE taken (text text)")
        stalled = asyncio.Event()

        async def rows() -> AsyncIterator[tuple[str]]:
            for number in range(10_000):
                if number == 10:
                    link.swallow()
                if number == 9_000:
                    stalled.set()
                yield ("x" * 1_000,)

        async def copy() -> None:
            async with far.transaction() as connection:
                await connection.copy_records_to_table("taken", records=rows())  # type: ignore[arg-type]

        copying = asyncio.create_task(copy())
        await asyncio.sleep(0.5)
        assert not copying.done()
        assert not stalled.is_set()
        if then == "cut":
            await link.cut()
        done, _ = await asyncio.wait([copying], timeout=4)
        assert done == {copying}
        with pytest.raises(UnavailableError):
            await copying
    finally:
        await link.close()
        await far.close()
