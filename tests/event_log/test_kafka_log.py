"""What the log on Kafka promises beyond the port: settings under which nothing is lost."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from shared.contracts.topics import RETENTION, TOPICS, USAGE_DEAD
from shared.event_log import Poison, PostgresPositions, Slice, dead_letter
from shared.event_log.kafka import Brokers, KafkaEventLog, open_kafka_event_log
from shared.event_log.kafka.clients import build_member, build_producer, build_reader
from shared.event_log.kafka.writer import partition_of
from tests.event_log.reading import consuming, eventually, read_all
from tests.event_log.results import Results, numbered, values_of

pytestmark = pytest.mark.kafka


@pytest.fixture
async def log(kafka_bootstrap: str) -> AsyncIterator[KafkaEventLog]:
    opened = await open_kafka_event_log(Brokers(kafka_bootstrap))
    yield opened
    await opened.close()


@pytest.fixture
async def topic(log: KafkaEventLog, unique_name: Callable[[str], str]) -> str:
    name = unique_name("topic")
    await log.ensure_topics({name: 1, USAGE_DEAD: 1})
    return name


@pytest.fixture
def committed(kafka_bootstrap: str, topic: str) -> Callable[[str], Any]:
    """Asks the broker for a group's committed offset of the only partition; None if there is none."""

    async def ask(group: str) -> int | None:
        consumer: Any = AIOKafkaConsumer(  # type: ignore[no-untyped-call]  # the library is not typed
            bootstrap_servers=kafka_bootstrap, group_id=group, enable_auto_commit=False
        )
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.start()
        found: int | None = await consumer.committed(TopicPartition(topic, 0))
        await consumer.stop()
        return found

    return ask


async def test_the_producer_waits_for_every_replica_and_makes_no_doubles(kafka_bootstrap: str) -> None:
    producer = build_producer(Brokers(kafka_bootstrap))
    assert producer._sender._acks == -1
    assert producer._sender._txn_manager is not None
    assert producer._sender._txn_manager.transactional_id is None
    assert producer._compression_type == "lz4"
    assert producer._request_timeout_ms <= 5_000
    await producer.stop()


async def test_consumers_start_at_the_earliest_and_commit_nothing_by_themselves(kafka_bootstrap: str) -> None:
    for consumer in (build_member(Brokers(kafka_bootstrap), "group"), build_reader(Brokers(kafka_bootstrap))):
        assert consumer._auto_offset_reset == "earliest"
        assert consumer._enable_auto_commit is False
        await consumer.stop()


async def test_the_committed_offset_never_passes_a_record_that_is_not_applied(
    log: KafkaEventLog,
    topic: str,
    results: Results,
    committed: Callable[[str], Any],
    unique_name: Callable[[str], str],
) -> None:
    group = unique_name("group")
    go_on, applying = asyncio.Event(), asyncio.Event()

    async def apply(part: Slice) -> None:
        applying.set()
        await go_on.wait()
        await results.apply(group, part)

    await log.append(topic, numbered(2))
    async with consuming(log, group, topic, results.positions, apply, max_records=1), asyncio.timeout(60):
        await applying.wait()
        await asyncio.sleep(3)  # longer than any timer that could commit
        assert await committed(group) is None
        go_on.set()
        await results.wait_for(group, values_of(numbered(2)))
    assert await committed(group) == 2


async def test_a_consumer_that_is_stopped_while_it_fails_commits_only_what_it_finished(
    log: KafkaEventLog,
    topic: str,
    results: Results,
    committed: Callable[[str], Any],
    unique_name: Callable[[str], str],
) -> None:
    group = unique_name("group")
    failed = 0

    async def apply(part: Slice) -> None:
        nonlocal failed
        if part.expected == 1:
            failed += 1
            raise ConnectionError("the database is away")
        await results.apply(group, part)

    await log.append(topic, numbered(5))
    async with consuming(log, group, topic, results.positions, apply, max_records=1):
        await eventually(lambda: failed >= 2, 30)
    assert await committed(group) == 1
    assert await results.list_values(group) == values_of(numbered(1))


async def test_a_group_that_the_broker_believes_further_on_starts_at_its_own_position(
    log: KafkaEventLog, topic: str, kafka_bootstrap: str, results: Results, unique_name: Callable[[str], str]
) -> None:
    group = unique_name("group")
    await log.append(topic, numbered(10))
    ahead: Any = AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap, group_id=group, enable_auto_commit=False)  # type: ignore[no-untyped-call]  # the library is not typed
    ahead.assign([TopicPartition(topic, 0)])
    await ahead.start()
    await ahead.commit({TopicPartition(topic, 0): 7})
    await ahead.stop()

    async def apply(part: Slice) -> None:
        await results.apply(group, part)

    async with consuming(log, group, topic, results.positions, apply):
        assert await results.wait_for(group, values_of(numbered(10))) == values_of(numbered(10))


async def test_a_foreign_record_without_key_or_value_passes_and_can_be_dead_lettered(
    log: KafkaEventLog, topic: str, kafka_bootstrap: str
) -> None:
    foreign: Any = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)  # type: ignore[no-untyped-call]  # the library is not typed
    await foreign.start()
    await foreign.send_and_wait(topic, value=None, key=b"key")
    await foreign.send_and_wait(topic, value=b"\xff\xfe", key=None)
    await foreign.stop()
    first, second = await read_all(log, topic)
    assert (first.key, first.value) == (b"key", None)
    assert (second.key, second.value) == (b"", b"\xff\xfe")
    async with log.tail(USAGE_DEAD) as dead:
        await dead_letter(log, [Poison(first, "no value")])
        while (found := await anext(dead)).headers[0] != ("dead-letter-reason", b"no value"):
            pass  # another test's
    assert found.value == b""
    assert ("dead-letter-null-value", b"true") in found.headers


def test_keys_go_where_other_clients_put_them() -> None:
    # The reference values of the Java client's own test of murmur2.
    signed = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    for key, murmur2 in signed.items():
        (unsigned,) = struct.unpack(">I", struct.pack(">i", murmur2))
        assert partition_of(key, 12) == (unsigned & 0x7FFFFFFF) % 12


async def test_a_topic_is_stamped_by_the_broker(log: KafkaEventLog, topic: str) -> None:
    described = await log._admin.ask(lambda admin: admin.describe_cluster())
    assert described["brokers"]
    await log.append(topic, numbered(1))
    (record,) = await read_all(log, topic)
    assert record.appended_at.tzinfo is not None


async def test_topics_are_created_with_the_retention_that_they_need(log: KafkaEventLog) -> None:
    await log.ensure_topics(TOPICS)
    assert {name: (await log.describe(name)).retention for name in TOPICS} == RETENTION


async def test_positions_are_kept_per_group_and_topic(results: Results, positions: PostgresPositions) -> None:
    async with results.database.transaction() as connection:
        for group, topic, offset in (("a", "t", 5), ("b", "t", 6), ("a", "u", 7)):
            await positions.advance(connection, group, topic, 3, expected=0, next_offset=offset)
    assert await positions.load("a", "t", [2, 3]) == {3: 5}
    assert await positions.load("b", "t", [3]) == {3: 6}
    assert await positions.load("a", "u", [3]) == {3: 7}
    assert await positions.load("c", "t", [3]) == {}
