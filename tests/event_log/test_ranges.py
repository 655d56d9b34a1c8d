"""Reading a range, outside any group: for replays, rebuilds and checks."""

import asyncio
from collections.abc import Mapping

import pytest

from shared.errors import NotFoundError
from shared.event_log import EventLog, Slice, StoredRecord
from tests.event_log.results import numbered, values_of


async def read(log: EventLog, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]) -> list[Slice]:
    async with asyncio.timeout(30), log.read_range(topic, starts, ends) as slices:
        return [part async for part in slices]


def records_of(slices: list[Slice]) -> list[StoredRecord]:
    return [record for part in slices for record in part.records]


async def test_a_range_has_everything_between_its_bounds_in_order(log: EventLog, topic: str) -> None:
    positions = await log.append(topic, numbered(4_000, keys=30))
    ends = await log.ends(topic)
    assert await log.begins(topic) == {0: 0, 1: 0, 2: 0}
    slices = await read(log, topic, await log.begins(topic), ends)
    assert sorted(record.value or b"" for record in records_of(slices)) == sorted(
        values_of(numbered(4_000, keys=30))
    )
    reached = dict.fromkeys(ends, 0)
    for part in slices:
        assert part.expected == reached[part.partition]
        assert [record.offset for record in part.records] == list(range(part.expected, part.next_offset))
        assert len(part.records) <= 1_000
        reached[part.partition] = part.next_offset
    assert reached == ends
    assert len(positions) == 4_000


async def test_the_start_is_part_of_a_range_and_the_end_is_not(log: EventLog, topic: str) -> None:
    (partition, *_) = {found.partition for found in await log.append(topic, numbered(20, keys=1))}
    slices = await read(log, topic, {partition: 5}, {partition: 9})
    assert [record.offset for record in records_of(slices)] == [5, 6, 7, 8]
    assert await read(log, topic, {partition: 9}, {partition: 9}) == []
    assert await read(log, topic, {partition: 9}, {partition: 3}) == []
    assert await read(log, topic, {partition: 9}, {}) == []


async def test_an_end_that_is_not_reached_yet_is_not_waited_for(log: EventLog, topic: str) -> None:
    (partition, *_) = {found.partition for found in await log.append(topic, numbered(20, keys=1))}
    assert len(records_of(await read(log, topic, {partition: 15}, {partition: 500}))) == 5
    assert await read(log, topic, {partition: 100}, {partition: 500}) == []


async def test_a_reader_may_leave_in_the_middle(log: EventLog, topic: str) -> None:
    await log.append(topic, numbered(3_000, keys=30))
    async with log.read_range(topic, {0: 0, 1: 0, 2: 0}, await log.ends(topic)) as slices:
        async for part in slices:
            assert part.records
            break
    assert len(records_of(await read(log, topic, {0: 0, 1: 0, 2: 0}, await log.ends(topic)))) == 3_000


async def test_what_is_appended_meanwhile_is_beyond_the_range(log: EventLog, topic: str) -> None:
    await log.append(topic, numbered(1_500, keys=1))
    ends = await log.ends(topic)
    seen = 0
    async with log.read_range(topic, {0: 0, 1: 0, 2: 0}, ends) as slices:
        async for part in slices:
            await log.append(topic, numbered(10, keys=1))
            seen += len(part.records)
    assert seen == 1_500


async def test_a_topic_that_is_not_there_is_said_to_be_missing(log: EventLog) -> None:
    with pytest.raises(NotFoundError):
        await read(log, "no.such.topic", {0: 0}, {0: 1})
    with pytest.raises(NotFoundError):
        await log.begins("no.such.topic")
    with pytest.raises(NotFoundError):
        await log.describe("no.such.topic")


async def test_a_topic_tells_how_it_is_kept(log: EventLog, topic: str, kind: str) -> None:
    state = await log.describe(topic)
    assert state.partitions == 3
    assert (state.copies, state.in_sync) == ((1, 1) if kind == "kafka" else (None, None))
