"""The writer: one lane per partition, all on one producer.

The library never gives up a batch of an idempotent producer. So that a record whose caller was told "not
stored" does not turn up once the broker is back, a batch that was not confirmed in time takes its producer
with it, and a new one is made.
"""

import asyncio
import contextlib
import functools
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from shared.errors import UnavailableError
from shared.event_log.kafka.brokers import Brokers
from shared.event_log.kafka.clients import Producer, build_producer, translated
from shared.event_log.lane import Append, Lane, measure
from shared.event_log.port import Position, Record

logger = logging.getLogger(__name__)

_START_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 3.0
_ATTEMPT_SECONDS: Final = 0.2

Target = tuple[str, int]
"""Topic and partition."""

_partitioner: Final[Any] = DefaultPartitioner()


@functools.lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, the one that other clients choose; remembered, since keys are accounts."""
    return int(_partitioner(key, range(partitions), ()))


class KafkaWriter:
    """Stores what several callers append at the same time in one request per partition."""

    def __init__(self, brokers: Brokers, append_timeout: timedelta) -> None:
        self._brokers = brokers
        self._timeout = append_timeout
        self._lanes: dict[Target, Lane[Target]] = {}
        self._producer: Producer | None = None
        self._starting = asyncio.Lock()
        self._next_attempt_at = 0.0
        self._stopping: set[asyncio.Task[None]] = set()

    async def append(self, topic: str, records: Sequence[Record], partitions: int) -> list[Position]:
        """Store records in a topic of so many partitions; see `EventLog.append`."""
        if len(records) == 1:
            return await self._put((topic, partition_of(records[0].key, partitions)), records)
        measure(records)  # all of them first: one that is too large must leave nothing stored
        by_partition: defaultdict[int, list[int]] = defaultdict(list)
        for index, record in enumerate(records):
            by_partition[partition_of(record.key, partitions)].append(index)
        parts = []
        for partition, indexes in by_partition.items():
            part = [records[index] for index in indexes]
            parts.append(self._put((topic, partition), part))
        positions: dict[int, Position] = {}
        for indexes, found in zip(by_partition.values(), await asyncio.gather(*parts), strict=True):
            positions.update(zip(indexes, found, strict=True))
        return [positions[index] for index in range(len(records))]

    async def connect(self) -> Producer:
        """The producer; a new one if there is none.

        Raises:
            UnavailableError: no broker answers.
        """
        async with self._starting:
            if self._producer is None:
                self._wait_between_attempts()
                producer = build_producer(self._brokers)
                try:
                    with translated():
                        async with asyncio.timeout(_START_SECONDS):
                            await producer.start()
                except BaseException:
                    await _stop(producer)
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        """Store what was accepted, then disconnect."""
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))
        stopping = list(self._stopping)
        if self._producer is not None:
            stopping.append(asyncio.create_task(_stop(self._producer)))
        await asyncio.gather(*stopping)

    async def _put(self, target: Target, records: Sequence[Record]) -> list[Position]:
        lane = self._lanes.get(target)
        if lane is None:
            name = f"{target[0]}/{target[1]}"
            lane = self._lanes[target] = Lane(name, self._store, self._probe, self._timeout)
        return await lane.put(target, records, measure(records))

    def _wait_between_attempts(self) -> None:
        """Many lanes ask for a producer when there is none; a broker that is away is not asked each time."""
        now = asyncio.get_running_loop().time()
        if now < self._next_attempt_at:
            raise UnavailableError("Kafka is not available at the moment.")
        self._next_attempt_at = now + _ATTEMPT_SECONDS

    async def _probe(self) -> None:
        await self.connect()

    async def _store(self, appends: list[Append[Target]]) -> None:
        producer = await self.connect()
        topic, partition = appends[0].target
        records = [record for append in appends for record in append.records]
        offsets: list[int] = []
        try:
            async with asyncio.timeout_at(max(append.deadline for append in appends)):
                while len(offsets) < len(records):
                    offsets += await _send(producer, topic, partition, records[len(offsets) :])
        except (KafkaError, TimeoutError) as error:
            self._discard(producer)
            raise UnavailableError("Kafka did not confirm the record.") from error
        at = 0
        for append in appends:
            until = at + len(append.records)
            append.resolve([Position(partition, offset) for offset in offsets[at:until]])
            at = until

    def _discard(self, producer: Producer) -> None:
        """Forget a producer with all that it holds; the lanes put their batches to the next one."""
        if self._producer is not producer:
            return
        self._producer = None
        _give_up(producer)
        task = asyncio.create_task(_stop(producer), name="kafka-producer-stop")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)


async def _send(producer: Producer, topic: str, partition: int, records: Sequence[Record]) -> list[int]:
    """Send as many of the records as fit into one batch; the offsets of those."""
    batch = producer.create_batch()
    count = 0
    for key, value, headers in records:
        if batch.append(key=key, value=value, timestamp=None, headers=list(headers)) is None:
            break
        count += 1
    confirmed = await producer.send_batch(batch, topic, partition=partition)
    first: int = (await confirmed).offset
    if first < 0:
        raise TimeoutError("the broker has the batch already, and does not know any more where")
    return list(range(first, first + count))


def _give_up(producer: Producer) -> None:
    """Fail every batch that the producer holds and let it try none again.

    There is no public way to do so in version 0.14 of the library; a test with a broker that goes away and
    comes back holds this to what it promises.
    """
    accumulator = producer._message_accumulator  # noqa: SLF001 - see above
    held = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001 - see above
    held += accumulator._pending_batches  # noqa: SLF001 - see above
    accumulator.fail_all(UnavailableError("Kafka did not confirm the record."))
    accumulator._batches.clear()  # noqa: SLF001 - see above
    # Each is removed from there by its own callback, also one that waited to be tried again, and was not.
    accumulator._pending_batches.update(held)  # noqa: SLF001 - see above
    accumulator.reenqueue = lambda _batch: None
    for batch in held:
        # Nobody waits for these any more, and the loop complains of failures that nobody looks at.
        for outcome in (batch.future, batch._drain_waiter):  # noqa: SLF001 - see above
            if outcome.done() and not outcome.cancelled():
                outcome.exception()


async def _stop(producer: Producer) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except (KafkaError, OSError, UnavailableError) as error:
        logger.info("a producer did not part in peace: %s", error)
        with contextlib.suppress(KafkaError, OSError):
            await producer.client.close()
