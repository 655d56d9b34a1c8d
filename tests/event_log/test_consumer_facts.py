"""Case P29 on Kafka: the one number that a group commits never passes a record that is not applied."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.event_log import PostgresPositions, Slice
from shared.event_log.kafka import Brokers, KafkaEventLog, open_kafka_event_log
from shared.event_log.kafka.clients import build_member
from shared.postgres import open_database
from tests.conftest import StartServer
from tests.event_log.processes import member, read_lines
from tests.event_log.reading import consuming, eventually
from tests.event_log.results import Results, create_results, numbered, values_of

pytestmark = pytest.mark.kafka


class Stand(NamedTuple):
    """A topic of one partition with ten records in it, which are there before the group."""

    bootstrap: str
    log: KafkaEventLog
    topic: str
    group: str

    async def committed(self) -> int | None:
        """The group's committed offset, as the broker knows it; None if there is none."""
        consumer: Any = AIOKafkaConsumer(  # type: ignore[no-untyped-call]  # the library is not typed
            bootstrap_servers=self.bootstrap, group_id=self.group, enable_auto_commit=False
        )
        consumer.assign([TopicPartition(self.topic, 0)])
        await consumer.start()
        found: int | None = await consumer.committed(TopicPartition(self.topic, 0))
        await consumer.stop()
        return found

    async def finish(self, results: Results) -> list[bytes]:
        """Let a healthy member take over; everything that was applied then, in order."""

        async def apply(part: Slice) -> None:
            await results.apply(self.group, part)

        async with consuming(self.log, self.group, self.topic, results.positions, apply):
            return await results.wait_for(self.group, values_of(numbered(10)))


@pytest.fixture
async def stand(kafka_bootstrap: str, unique_name: Callable[[str], str]) -> AsyncIterator[Stand]:
    log = await open_kafka_event_log(Brokers(kafka_bootstrap))
    made = Stand(kafka_bootstrap, log, unique_name("topic"), unique_name("group"))
    await log.ensure_topics({made.topic: 1})
    await log.append(made.topic, numbered(10))
    yield made
    await log.close()


async def test_these_are_the_settings_that_are_in_effect(kafka_bootstrap: str) -> None:
    consumer = build_member(Brokers(kafka_bootstrap), "group")
    assert consumer._enable_auto_commit is False
    assert consumer._auto_offset_reset == "earliest"
    assert consumer._session_timeout_ms == 6_000
    assert consumer._heartbeat_interval_ms * 3 < consumer._session_timeout_ms
    assert consumer._max_poll_interval_ms >= 300_000
    assert consumer._group_instance_id is None
    await consumer.stop()


async def test_sigterm_in_the_middle_of_a_failing_record_commits_what_is_finished(
    stand: Stand, results: Results
) -> None:
    arguments = (stand.bootstrap, stand.topic, results.database.url, stand.group)
    async with member("consume-until-told", *arguments, "failing") as process:
        await read_lines(process, 5)  # three are applied, and the next one has failed twice
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    assert await stand.committed() == 3
    assert await results.list_values(stand.group) == values_of(numbered(3))
    assert await stand.finish(results) == values_of(numbered(10))


async def test_a_process_that_is_killed_in_the_middle_of_a_record_leaves_it_to_the_next(
    stand: Stand, results: Results
) -> None:
    arguments = (stand.bootstrap, stand.topic, results.database.url, stand.group)
    async with member("consume-until-told", *arguments, "sleeping") as process:
        assert (await read_lines(process, 4))[-1] == "sleeping"
        await asyncio.sleep(5)  # long enough for every timer that could commit
        reached = await stand.committed()
        assert reached is None or reached <= 3
        process.kill()
        await process.wait()
    reached = await stand.committed()
    assert reached is None or reached <= 3
    assert await stand.finish(results) == values_of(numbered(10))


async def test_while_the_database_hangs_nothing_is_passed_and_afterwards_nothing_is_missing(
    stand: Stand, own_server: StartServer
) -> None:
    server = own_server("postgres")
    url = f"postgresql://postgres@{server.address}/postgres"
    await create_results(url)
    database = await open_database(url, application_name="tests")
    results = Results(database, PostgresPositions(database, "results"))
    attempts = 0

    async def apply(part: Slice) -> None:
        nonlocal attempts
        attempts += 1
        await results.apply(stand.group, part)

    try:
        async with consuming(stand.log, stand.group, stand.topic, results.positions, apply, max_records=1):
            await eventually(lambda: attempts >= 3, 30)
            await asyncio.to_thread(server.pause)
            hanging_at = attempts
            await asyncio.sleep(5)
            assert attempts <= hanging_at + 1
            reached = await stand.committed() or 0
            assert reached <= hanging_at
            await asyncio.to_thread(server.resume)
            applied = await results.wait_for(stand.group, values_of(numbered(10)), seconds=60)
        assert applied == values_of(numbered(10))
    finally:
        await database.close()
    assert await stand.committed() == 10
