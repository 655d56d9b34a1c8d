"""Reading a range, by a consumer outside any group."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from shared.errors import UnavailableError
from shared.event_log.kafka.brokers import Brokers
from shared.event_log.kafka.clients import Consumer, build_reader, translated
from shared.event_log.kafka.stored import stored_records
from shared.event_log.kafka.subscription import stop_consumer
from shared.event_log.port import Slice

logger = logging.getLogger(__name__)

_BATCH_RECORDS: Final = 1_000
_WAIT_MS: Final = 500
_PATIENCE_SECONDS: Final = 30.0


async def start_reader(brokers: Brokers) -> Consumer:
    """A consumer outside any group, connected; whoever started it stops it."""
    consumer = build_reader(brokers)
    try:
        await consumer.start()
    except BaseException:
        await stop_consumer(consumer)
        raise
    return consumer


async def read_ranges(
    brokers: Brokers, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
) -> AsyncGenerator[Slice, None]:
    """See `EventLog.read_range`. While a broker is away the library waits for it and gives nothing."""
    starts = {partition: start for partition, start in starts.items() if start < ends.get(partition, start)}
    if not starts:
        return
    with translated():
        async with asyncio.timeout(_PATIENCE_SECONDS):
            consumer = await start_reader(brokers)
    try:
        with translated():
            left = await _seek(consumer, topic, starts, ends)
        while left:
            for part in await _read(consumer, left):
                yield part
    finally:
        await stop_consumer(consumer)


class _Left:
    """What is still to be read of a partition: from `expected` up to `end`."""

    def __init__(self, expected: int, end: int) -> None:
        self.expected = expected
        self.end = end


async def _seek(
    consumer: Consumer, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
) -> dict[Any, _Left]:
    partitions = [TopicPartition(topic, number) for number in starts]
    consumer.assign(partitions)
    there_begins = await consumer.beginning_offsets(partitions)
    there_ends = await consumer.end_offsets(partitions)
    left: dict[Any, _Left] = {}
    for tp in partitions:
        start = starts[tp.partition]
        end = min(ends[tp.partition], there_ends[tp])
        first = max(start, there_begins[tp])
        if start < first:
            logger.warning("%s/%d: %d to %d are gone", topic, tp.partition, start, min(first, end) - 1)
        if first < end:
            consumer.seek(tp, first)
            left[tp] = _Left(start, end)
    return left


async def _read(consumer: Consumer, left: dict[Any, _Left]) -> list[Slice]:
    """The next slices, at least one unless nothing is left; what is done with goes out of `left`."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    slices: list[Slice] = []
    while left and not slices:
        try:
            with translated():
                found = await consumer.getmany(*left, timeout_ms=_WAIT_MS, max_records=_BATCH_RECORDS)
                for tp, records in found.items():
                    rest = left[tp]
                    wanted = stored_records(record for record in records if record.offset < rest.end)
                    if wanted:
                        slices.append(Slice(tp.topic, tp.partition, wanted, rest.expected))
                        rest.expected = wanted[-1].offset + 1
                # An end may lie behind offsets that are no records, such as a transaction's marks.
                for tp in [tp for tp, rest in left.items() if await consumer.position(tp) >= rest.end]:
                    del left[tp]
        except UnavailableError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(_WAIT_MS / 1000)
        if left and not slices and asyncio.get_running_loop().time() > deadline:
            raise UnavailableError("Kafka gives no records at the moment.") from KafkaError("nothing came")
    return slices
