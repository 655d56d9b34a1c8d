"""What the log in Postgres promises beyond the port: speed, and order among its own processes."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from shared.errors import UnavailableError
from shared.event_log import EventLog, Record
from shared.event_log.postgres import open_postgres_event_log
from shared.event_log.postgres.membership import Membership
from shared.postgres import Database, open_connection, open_database
from tests.event_log.reading import NoPositions, read_all
from tests.event_log.results import numbered
from tests.event_log.servers import prepare_log


@pytest.fixture
async def log(postgres_url: str) -> AsyncIterator[EventLog]:
    await prepare_log("postgres", postgres_url)
    opened = await open_postgres_event_log(postgres_url)
    await opened.ensure_topics({"topic": 12, "other": 12})
    yield opened
    await opened.close()


async def fetch(url: str, query: str) -> list[tuple[object, ...]]:
    connection = await open_connection(url, application_name="tests")
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_concurrent_appends_share_commits(log: EventLog, postgres_url: str) -> None:
    await asyncio.gather(*(log.append("topic", [record]) for record in numbered(500, keys=100)))
    ((commits,),) = await fetch(postgres_url, "SELECT count(DISTINCT xmin::text) FROM event_log.records")
    assert isinstance(commits, int)
    assert commits <= 3


async def test_a_batch_is_whole_or_not_there(log: EventLog, postgres_url: str) -> None:
    await log.append("topic", numbered(300, keys=100))
    ((commits,),) = await fetch(postgres_url, "SELECT count(DISTINCT xmin::text) FROM event_log.records")
    assert commits == 1


async def test_a_reader_in_the_same_process_is_woken_at_once(log: EventLog) -> None:
    waits: list[float] = []
    async with log.subscribe("group", "topic", NoPositions()) as subscription, asyncio.timeout(60):
        for n in range(40):
            reading = asyncio.create_task(subscription.read(max_records=10, max_wait=timedelta(seconds=10)))
            await asyncio.sleep(0.01)
            await log.append("topic", numbered(1, start=n))
            started = time.perf_counter()
            assert await reading
            waits.append(time.perf_counter() - started)
    assert statistics.median(waits) < 0.005


async def test_a_reader_in_another_process_is_woken_without_polling(log: EventLog, postgres_url: str) -> None:
    other = await open_postgres_event_log(postgres_url)
    waits: list[float] = []
    async with other.subscribe("group", "topic", NoPositions()) as subscription, asyncio.timeout(60):
        await asyncio.sleep(0.5)  # until it listens
        for n in range(20):
            reading = asyncio.create_task(subscription.read(max_records=10, max_wait=timedelta(seconds=10)))
            await asyncio.sleep(0.02)
            await log.append("topic", numbered(1, start=n))
            started = time.perf_counter()
            assert await reading
            waits.append(time.perf_counter() - started)
    await other.close()
    assert statistics.median(waits) < 0.1  # a poll would take 0.25 s on average


async def test_appends_to_several_topics_ride_together_and_stay_apart(
    log: EventLog, postgres_url: str
) -> None:
    await asyncio.gather(
        *(log.append("topic" if n % 2 else "other", [record]) for n, record in enumerate(numbered(100)))
    )
    assert sum((await log.ends("topic")).values()) == 50
    assert sum((await log.ends("other")).values()) == 50


async def test_processes_that_append_to_the_same_partitions_never_deadlock(
    log: EventLog, postgres_url: str
) -> None:
    logs = [await open_postgres_event_log(postgres_url) for _ in range(3)]

    async def append(number: int) -> None:
        for n in range(30):
            records = numbered(40, keys=100, start=number * 10_000 + n * 40)
            await logs[number % 3].append("topic", records[:: 1 if number % 2 else -1])

    await asyncio.gather(*map(append, range(6)))
    ((deadlocks,),) = await fetch(
        postgres_url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    assert deadlocks == 0
    assert sum((await log.ends("topic")).values()) == 6 * 30 * 40
    for each in logs:
        await each.close()


async def test_a_session_that_an_operator_made_lazy_is_durable_all_the_same(postgres_url: str) -> None:
    await prepare_log("postgres", postgres_url)
    name = postgres_url.rpartition("/")[2]
    connection = await open_connection(postgres_url, application_name="tests")
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    await connection.close()
    log = await open_postgres_event_log(postgres_url)
    writing = log._writer._connection
    assert writing is not None
    assert await writing.fetchval("SHOW synchronous_commit") == "on"
    assert await writing.fetchval("SHOW default_transaction_isolation") == "read committed"
    await log.close()


async def test_the_writer_comes_back_after_its_connection_was_ended(log: EventLog, postgres_url: str) -> None:
    await log.append("topic", numbered(1))
    for n in range(5):
        await fetch(
            postgres_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'llmring-event-log%'",
        )
        async with asyncio.timeout(5):
            await log.append("topic", numbered(1, start=1 + n))
    async with asyncio.timeout(5):
        while True:
            try:
                assert sum((await log.ends("topic")).values()) == 6
                break
            except UnavailableError:  # the first use of a connection that was ended
                await asyncio.sleep(0.05)


async def test_wakeups_come_back_after_their_connection_was_ended(log: EventLog, postgres_url: str) -> None:
    other = await open_postgres_event_log(postgres_url)
    async with other.tail("topic") as records:
        await fetch(
            postgres_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'llmring-event-log-wakeups'",
        )
        for n in range(3):
            await log.append("topic", numbered(1, start=n))
            async with asyncio.timeout(5):
                assert (await anext(records)).value == numbered(1, start=n)[0].value
    await other.close()


async def test_a_full_partition_does_not_keep_the_others_waiting(log: EventLog) -> None:
    await log.append("topic", [Record(b"heavy", b"x")] * 3000)
    light = await log.append("topic", [Record(f"light-{n}".encode(), b"y") for n in range(30)])
    wanted = {position.partition for position in light}
    seen: set[int] = set()
    async with log.subscribe("group", "topic", NoPositions()) as subscription, asyncio.timeout(10):
        for _ in range(len(wanted) + 1):
            for part in await subscription.read(max_records=100, max_wait=timedelta(seconds=1)):
                seen.add(part.partition)
    assert wanted <= seen


async def test_a_read_brings_no_more_into_memory_than_it_should(log: EventLog) -> None:
    for n in range(30):
        await log.append("topic", [Record(b"key", bytes([n]) * 900_000)])
    sizes: list[int] = []
    async with log.subscribe("group", "topic", NoPositions()) as subscription, asyncio.timeout(30):
        while sum(sizes) < 30:
            (part,) = await subscription.read(max_records=1000, max_wait=timedelta(seconds=1))
            sizes.append(len(part.records))
    assert max(sizes) <= 18


async def test_a_slow_transaction_never_lets_a_later_offset_pass(log: EventLog, postgres_url: str) -> None:
    """X gets an offset and sleeps; Y comes meanwhile: a reader sees neither, or X before Y."""
    (first,) = await log.append("topic", numbered(1, keys=1))
    slow = await open_connection(postgres_url, application_name="slow")
    partition_id = await slow.fetchval(
        "SELECT partition_id FROM event_log.partitions WHERE topic = $1 AND partition = $2",
        "topic",
        first.partition,
    )
    async with slow.transaction():
        await slow.fetchval(
            "SELECT event_log.append(ARRAY[$1::integer], ARRAY[$1::integer], ARRAY[0], ARRAY['k'::bytea], "
            "ARRAY['slow'::bytea], ARRAY[NULL::bytea])",
            partition_id,
        )
        late = asyncio.create_task(log.append("topic", numbered(1, keys=1, start=1)))
        await asyncio.sleep(1)
        assert not late.done()
        assert [record.offset for record in await read_all(log, "topic")] == [0]
    (position,) = await late
    assert position.offset == 2
    assert [record.value for record in await read_all(log, "topic")] == [b"key-0:0", b"slow", b"key-0:1"]
    await slow.close()


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    await prepare_log("postgres", postgres_url)
    opened = await open_database(postgres_url, application_name="tests")
    yield opened
    await opened.close()


async def test_members_share_all_partitions_without_overlap(database: Database) -> None:
    members = [Membership(database, "group", "topic") for _ in range(5)]
    for member in members:
        await member.renew()
    shares = [member.share(await member.renew(), 12) for member in members]
    assert sorted(number for share in shares for number in share) == list(range(12))
    assert sorted(map(len, shares)) == [2, 2, 2, 3, 3]
    await members[0].leave()
    shares = [member.share(await member.renew(), 12) for member in members[1:]]
    assert sorted(map(len, shares)) == [3, 3, 3, 3]


async def test_a_member_whose_lease_ran_out_is_forgotten(database: Database, postgres_url: str) -> None:
    dead, alive = (Membership(database, "group", "topic") for _ in range(2))
    await dead.renew()
    await fetch(
        postgres_url, "UPDATE event_log.members SET expires_at = now() - interval '1 second' RETURNING true"
    )
    assert await alive.renew() == [alive.member_id]
    assert await fetch(postgres_url, "SELECT member_id FROM event_log.members") == [(alive.member_id,)]
    assert sorted(await dead.renew()) == sorted([dead.member_id, alive.member_id])
