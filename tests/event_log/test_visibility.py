"""Positions become visible in order: who reads after 101 will never find a 100 later."""

import asyncio
from collections import defaultdict
from datetime import timedelta

from tests.event_log.conftest import OpenLog
from tests.event_log.reading import NoPositions
from tests.event_log.results import numbered


async def test_a_reader_beside_concurrent_appenders_sees_no_gap(open_log: OpenLog, topic: str) -> None:
    logs = [await open_log() for _ in range(3)]
    reader = await open_log()
    done = asyncio.Event()
    seen: defaultdict[int, list[int]] = defaultdict(list)

    async def append(number: int) -> None:
        for n in range(60):
            await logs[number % 3].append(topic, numbered(1 + n % 4, start=number * 1000 + n))

    async def read() -> None:
        async with reader.subscribe("group", topic, NoPositions()) as subscription:
            while True:
                finished = done.is_set()
                slices = await subscription.read(max_records=17, max_wait=timedelta(seconds=0.3))
                for part in slices:
                    seen[part.partition] += [record.offset for record in part.records]
                if finished and not slices:
                    return

    reading = asyncio.create_task(read())
    await asyncio.gather(*map(append, range(9)))
    done.set()
    async with asyncio.timeout(30):
        await reading
    ends = await reader.ends(topic)
    assert {partition: len(offsets) for partition, offsets in seen.items()} == ends
    for offsets in seen.values():
        assert offsets == list(range(len(offsets)))


async def test_an_append_that_is_acknowledged_is_readable_by_everyone(open_log: OpenLog, topic: str) -> None:
    here, there = await open_log(), await open_log()
    for n in range(20):
        (position,) = await here.append(topic, numbered(1, start=n))
        assert (await there.ends(topic))[position.partition] > position.offset
