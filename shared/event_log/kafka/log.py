"""The event log on Kafka, as one object."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from shared.event_log.kafka.asking import Asker
from shared.event_log.kafka.brokers import Brokers
from shared.event_log.kafka.clients import Consumer, close_admin, start_admin
from shared.event_log.kafka.ranges import read_ranges, start_reader
from shared.event_log.kafka.stored import stored_records
from shared.event_log.kafka.subscription import KafkaSubscription, open_subscription, stop_consumer
from shared.event_log.kafka.topics import Topics
from shared.event_log.kafka.writer import KafkaWriter
from shared.event_log.port import Position, Positions, Record, Slice, StoredRecord, TopicState

logger = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 0.5
_TAIL_WAIT_MS: Final = 500


class KafkaEventLog:
    """An `EventLog` on Kafka; made by `open_kafka_event_log`."""

    def __init__(self, brokers: Brokers, writer: KafkaWriter, admin: Asker, topics: Topics) -> None:
        self._brokers = brokers
        self._writer = writer
        self._admin = admin
        self._topics = topics
        # A consumer outside any group, which only asks for offsets.
        self._reader = Asker(lambda: start_reader(brokers), stop_consumer)

    async def ensure_topics(self, topics: Mapping[str, int]) -> None:
        """See `EventLog.ensure_topics`."""
        await self._topics.ensure(topics)

    async def append(self, topic: str, records: Sequence[Record]) -> list[Position]:
        """See `EventLog.append`."""
        partitions = self._topics.find_partitions(topic) or await self._topics.get_partitions(topic)
        return await self._writer.append(topic, records, partitions) if records else []

    @asynccontextmanager
    async def subscribe(
        self, group: str, topic: str, positions: Positions
    ) -> AsyncIterator[KafkaSubscription]:
        """See `EventLog.subscribe`."""
        async with open_subscription(self._brokers, topic, group, positions, self) as subscription:
            yield subscription

    @asynccontextmanager
    async def tail(self, topic: str) -> AsyncIterator[AsyncIterator[StoredRecord]]:
        """See `EventLog.tail`."""
        async with aclosing(self._follow(topic, await self.ends(topic))) as records:
            yield records

    @asynccontextmanager
    async def read_range(
        self, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> AsyncIterator[AsyncIterator[Slice]]:
        """See `EventLog.read_range`."""
        await self._topics.get_partitions(topic)
        async with aclosing(read_ranges(self._brokers, topic, starts, ends)) as slices:
            yield slices

    async def begins(self, topic: str) -> dict[int, int]:
        """See `EventLog.begins`."""
        return await self._ask_offsets(topic, lambda reader: reader.beginning_offsets)

    async def ends(self, topic: str) -> dict[int, int]:
        """See `EventLog.ends`."""
        return await self._ask_offsets(topic, lambda reader: reader.end_offsets)

    async def describe(self, topic: str) -> TopicState:
        """See `EventLog.describe`."""
        return await self._topics.describe(topic)

    async def ping(self) -> None:
        """See `EventLog.ping`."""
        await self._admin.ask(lambda admin: admin.describe_cluster())

    async def close(self) -> None:
        """See `EventLog.close`."""
        await self._writer.close()
        await self._reader.close()
        await self._admin.close()

    async def _ask_offsets(self, topic: str, question: Callable[[Consumer], Any]) -> dict[int, int]:
        count = await self._topics.get_partitions(topic)
        partitions = [TopicPartition(topic, number) for number in range(count)]
        offsets = await self._reader.ask(lambda reader: question(reader)(partitions))
        return {tp.partition: offset for tp, offset in offsets.items()}

    async def _follow(self, topic: str, starts: dict[int, int]) -> AsyncGenerator[StoredRecord, None]:
        while True:
            try:
                consumer = await start_reader(self._brokers)
            except (KafkaError, OSError) as error:
                logger.info("%s cannot be followed for now: %s", topic, error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            try:
                partitions = {number: TopicPartition(topic, number) for number in starts}
                consumer.assign(list(partitions.values()))
                for number, tp in partitions.items():
                    consumer.seek(tp, starts[number])
                while True:
                    found: dict[Any, list[Any]] = await consumer.getmany(timeout_ms=_TAIL_WAIT_MS)
                    for tp, records in found.items():
                        for record in stored_records(records):
                            starts[tp.partition] = record.offset + 1
                            yield record
            except (KafkaError, OSError) as error:
                logger.info("%s cannot be followed for now: %s", topic, error)
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                await stop_consumer(consumer)


async def open_kafka_event_log(
    brokers: Brokers,
    *,
    append_timeout: timedelta = timedelta(seconds=4),
    replication_factor: int | None = None,
) -> KafkaEventLog:
    """Connect.

    Args:
        brokers: of one cluster.
        append_timeout: how long an append may take, outages included.
        replication_factor: for topics that `ensure_topics` creates; by default three, or as many as there are
            brokers at that moment, so production names it.

    Raises:
        UnavailableError: no broker answers.
    """
    admin = Asker(lambda: start_admin(brokers), close_admin)
    writer = KafkaWriter(brokers, append_timeout)
    try:
        await admin.ask(lambda each: each.describe_cluster())
        await writer.connect()
    except BaseException:
        await writer.close()
        await admin.close()
        raise
    return KafkaEventLog(brokers, writer, admin, Topics(admin, replication_factor))
