"""Three brokers, of which one is killed: an acknowledgement stands on two."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from shared.errors import UnavailableError
from shared.event_log.kafka import Brokers, KafkaEventLog, open_kafka_event_log
from tests.conftest import leave_out
from tests.event_log.reading import eventually, read_all
from tests.event_log.results import numbered, values_of
from tests.servers.kafka.cluster import KafkaCluster
from tests.servers.server import MissingServerError
from tests.servers.session import session_folder, write_note

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
async def cluster() -> AsyncIterator[KafkaCluster]:
    folder = session_folder() / f"cluster-{secrets.token_hex(4)}"
    try:
        made = KafkaCluster(folder)
    except MissingServerError as error:
        leave_out("kafka", error)
    try:
        await asyncio.to_thread(made.start)
        for number, broker in made.brokers.items():
            write_note(f"{folder.name}-{number}", broker)
        yield made
    finally:
        await asyncio.to_thread(made.destroy)


@pytest.fixture
async def log(cluster: KafkaCluster) -> AsyncIterator[KafkaEventLog]:
    opened = await open_kafka_event_log(Brokers(cluster.address), append_timeout=timedelta(seconds=4))
    await opened.ensure_topics({"topic": 6})
    yield opened
    await opened.close()


async def test_a_leader_that_is_killed_takes_nothing_acknowledged_with_it(
    cluster: KafkaCluster, log: KafkaEventLog
) -> None:
    acknowledged: list[bytes] = []
    stop = asyncio.Event()

    async def append_until_stopped(first: int) -> None:
        n = first
        while not stop.is_set():
            (record,) = numbered(1, keys=20, start=n)
            n += 10
            try:
                await log.append("topic", [record])
            except UnavailableError:
                await asyncio.sleep(0.05)
            else:
                acknowledged.append(record.value)

    callers = [asyncio.create_task(append_until_stopped(first)) for first in range(10)]
    await eventually(lambda: len(acknowledged) >= 300, 30)
    (described,) = await log._admin.ask(lambda admin: admin.describe_topics(["topic"]))
    assert all(len(partition["replicas"]) == 3 for partition in described["partitions"])
    leader = described["partitions"][0]["leader"]
    await asyncio.to_thread(cluster.brokers[leader].kill)
    before = len(acknowledged)
    await eventually(lambda: len(acknowledged) >= before + 500, 60)
    stop.set()
    await asyncio.gather(*callers)
    stored = values_of(await read_all(log, "topic"))  # type: ignore[arg-type]  # both have values
    assert set(acknowledged) <= set(stored)


async def test_nothing_is_acknowledged_by_one_broker_alone(cluster: KafkaCluster, log: KafkaEventLog) -> None:
    await log.append("topic", numbered(20))
    for number in (2, 3):
        await asyncio.to_thread(cluster.brokers[number].kill)
    outcomes = await asyncio.gather(
        *(log.append("topic", [record]) for record in numbered(20, start=20)), return_exceptions=True
    )
    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
