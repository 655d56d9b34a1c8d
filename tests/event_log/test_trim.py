"""The log in Postgres forgets what is old and passed by every group, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Collection
from datetime import timedelta

import pytest

from shared.event_log import EventLog, PositionLostError, PostgresPositions, Slice
from shared.event_log.postgres import SCHEMA, PostgresEventLog, open_postgres_event_log
from shared.event_log.postgres import trim as trimming
from shared.event_log.postgres.trim import Group, Trimmer
from shared.postgres import Database, migrate
from tests.event_log.reading import NoPositions, consuming, eventually, read_records
from tests.event_log.results import Results, doubles, numbered, values_of

DAY = timedelta(days=1)


@pytest.fixture
async def log(postgres_url: str) -> AsyncIterator[PostgresEventLog]:
    await migrate(postgres_url, [SCHEMA])
    opened = await open_postgres_event_log(postgres_url)
    await opened.ensure_topics({"topic": 1})
    yield opened
    await opened.close()


class At:
    """A group that has passed everything before an offset."""

    def __init__(self, offset: int | None) -> None:
        self.offset = offset

    async def load(self, group: str, topic: str, partitions: Collection[int]) -> dict[int, int]:
        return {} if self.offset is None else dict.fromkeys(partitions, self.offset)


async def age(database: Database, below: int, by: timedelta = 2 * DAY) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE event_log.records SET appended_at = appended_at - $2::interval WHERE record_offset < $1",
            below,
            by,
        )


def trimmer(database: Database, *offsets: int | None, keep: timedelta | None = DAY) -> Trimmer:
    groups = [Group(f"group-{number}", At(offset)) for number, offset in enumerate(offsets)]
    return Trimmer(database, {"topic": keep, "no.such.topic": DAY}, {"topic": groups})


async def offsets_of(log: EventLog) -> list[int]:
    async with log.read_range("topic", {0: 0}, {0: 1_000_000}) as slices:
        return [record.offset async for part in slices for record in part.records]


async def test_old_records_that_every_group_has_passed_go(log: EventLog, database: Database) -> None:
    await log.append("topic", numbered(100))
    await age(database, below=60)
    assert await trimmer(database, 80, 40).trim() == 40
    assert await offsets_of(log) == list(range(40, 100))
    assert await trimmer(database, 80, 90).trim() == 20
    assert await offsets_of(log) == list(range(60, 100))
    assert await trimmer(database, 100, 100).trim() == 0


async def test_young_records_stay_whoever_has_passed_them(log: EventLog, database: Database) -> None:
    await log.append("topic", numbered(10))
    assert await trimmer(database, 10).trim() == 0
    assert await trimmer(database).trim() == 0


async def test_without_a_group_age_alone_decides(log: EventLog, database: Database) -> None:
    await log.append("topic", numbered(10))
    await age(database, below=4)
    assert await trimmer(database).trim() == 4


async def test_a_group_that_has_not_begun_keeps_everything(log: EventLog, database: Database) -> None:
    await log.append("topic", numbered(10))
    await age(database, below=10)
    assert await trimmer(database, 10, None).trim() == 0


async def test_a_topic_that_is_to_be_kept_is_kept(log: EventLog, database: Database) -> None:
    await log.append("topic", numbered(10))
    await age(database, below=10)
    assert await trimmer(database, 10, keep=None).trim() == 0


async def test_offsets_go_on_after_everything_was_old(log: EventLog, database: Database) -> None:
    await log.append("topic", numbered(10))
    await age(database, below=10)
    assert await trimmer(database, 10).trim() == 9
    assert await log.begins("topic") == {0: 9}
    assert [position.offset for position in await log.append("topic", numbered(2))] == [10, 11]
    assert await log.ends("topic") == {0: 12}


async def test_a_young_record_between_old_ones_ends_the_trimming(log: EventLog, database: Database) -> None:
    await log.append("topic", numbered(10))
    await age(database, below=10)
    async with database.connection() as connection:
        await connection.execute("UPDATE event_log.records SET appended_at = now() WHERE record_offset = 3")
    assert await trimmer(database, 10).trim() == 3


async def test_readers_that_start_before_the_first_record_begin_at_it(
    log: EventLog, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await log.append("topic", numbered(100))
    await age(database, below=30)
    await trimmer(database, 50).trim()
    assert (await offsets_of(log))[0] == 30
    assert "0 to 29 are gone" in caplog.text
    async with log.subscribe("new", "topic", NoPositions()) as subscription:
        assert [record.offset for record in await read_records(subscription, 70)] == list(range(30, 100))
    async with log.subscribe("behind", "topic", At(10)) as subscription:
        assert [record.offset for record in await read_records(subscription, 70)] == list(range(30, 100))
    assert "10 to 29 are gone" in caplog.text
    async with log.subscribe("beyond", "topic", At(101)) as subscription:
        with pytest.raises(PositionLostError):
            await read_records(subscription, 1)


async def test_many_records_go_in_batches_while_appends_and_consumers_go_on(
    log: EventLog, database: Database, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "BATCH_RECORDS", 100)
    await log.append("topic", numbered(2_000))
    await age(database, below=2_000)

    async def apply(part: Slice) -> None:
        await results.apply("group", part)

    group = Group("group", PostgresPositions(database, "results"))
    worker = Trimmer(database, {"topic": DAY}, {"topic": [group]})
    slowest = 0.0
    loop = asyncio.get_running_loop()
    async with consuming(log, "group", "topic", results.positions, apply, max_records=50):
        for number in range(200):
            started = loop.time()
            await log.append("topic", numbered(1, start=2_000 + number))
            slowest = max(slowest, loop.time() - started)
            if number % 20 == 0:
                await worker.trim()
        applied = await results.wait_for("group", values_of(numbered(2_200)))
    await worker.trim()
    assert doubles(applied) == []
    assert await log.begins("topic") == {0: 2_000}
    assert slowest < 2


async def test_one_process_at_a_time_trims(log: EventLog, database: Database) -> None:
    await log.append("topic", numbered(10))
    await age(database, below=9)
    async with database.transaction() as connection:
        await connection.fetchval(trimming.TRY_LOCK, trimming._LOCK)
        assert await trimmer(database, 10).trim() == 0
    assert await trimmer(database, 10).trim() == 9


async def test_the_worker_trims_at_once_and_stops_at_once(log: EventLog, database: Database) -> None:
    await log.append("topic", numbered(10))
    await age(database, below=5)
    stop = asyncio.Event()
    task = asyncio.create_task(trimmer(database, 10).run(stop))
    async with asyncio.timeout(10):
        while await log.begins("topic") != {0: 5}:  # noqa: ASYNC110 - a deletion rings no bell
            await asyncio.sleep(0.02)
        stop.set()
        await task


async def test_a_database_that_is_away_is_no_end_of_the_worker(
    log: EventLog, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    worker, stop = trimmer(database, 10), asyncio.Event()
    await database.close()
    task = asyncio.create_task(worker.run(stop))
    await eventually(lambda: "not trimmed now" in caplog.text, 10)
    async with asyncio.timeout(10):
        stop.set()
        await task
