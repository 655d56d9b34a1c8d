"""What every event log promises to processes that follow a topic."""

import asyncio
from collections.abc import AsyncIterator

from shared.event_log import EventLog, StoredRecord
from tests.event_log.conftest import OpenLog
from tests.event_log.results import numbered, values_of


async def take(records: AsyncIterator[StoredRecord], count: int) -> list[bytes | None]:
    found: list[bytes | None] = []
    async with asyncio.timeout(15):
        async for record in records:
            found.append(record.value)
            if len(found) == count:
                return found
    raise AssertionError("a tail does not end")


async def test_every_process_reads_every_record_appended_from_now_on(open_log: OpenLog, topic: str) -> None:
    here, there = await open_log(), await open_log()
    await here.append(topic, numbered(20))
    async with here.tail(topic) as mine, there.tail(topic) as theirs:
        late = numbered(20, start=20)
        await there.append(topic, late)
        for tail in (mine, theirs):
            assert sorted(filter(None, await take(tail, 20))) == sorted(values_of(late))


async def test_now_is_when_the_block_is_entered(log: EventLog, topic: str) -> None:
    async with log.tail(topic) as records:
        late = numbered(20)
        for record in late:
            await log.append(topic, [record])
        await asyncio.sleep(0.3)
        assert sorted(filter(None, await take(records, 20))) == sorted(values_of(late))


async def test_a_tail_keeps_the_order_of_a_key(log: EventLog, topic: str) -> None:
    async with log.tail(topic) as records:
        late = numbered(200, keys=1)
        for record in late:
            await log.append(topic, [record])
        assert await take(records, 200) == values_of(late)
