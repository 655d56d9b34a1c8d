"""Members of a group come, go and die; each record is applied once and none is left out."""

import asyncio
from datetime import timedelta

from shared.event_log import Slice
from tests.event_log.conftest import OpenLog
from tests.event_log.processes import member, read_lines
from tests.event_log.reading import NoPositions, consuming, eventually
from tests.event_log.results import Results, assert_in_order_per_key, doubles, numbered, values_of


async def test_members_that_join_and_leave_neither_double_nor_skip(
    open_log: OpenLog, topic: str, results: Results
) -> None:
    first, second, appender = await open_log(), await open_log(), await open_log()
    records = numbered(1000, keys=30)
    applied_by: dict[str, int] = {"first": 0, "second": 0}

    async def apply_first(part: Slice) -> None:
        await results.apply("group", part)
        applied_by["first"] += len(part.records)

    async def apply_second(part: Slice) -> None:
        await results.apply("group", part)
        applied_by["second"] += len(part.records)

    async def append_slowly() -> None:
        for record in records:
            await appender.append(topic, [record])
            await asyncio.sleep(0.005)

    appending = asyncio.create_task(append_slowly())
    async with consuming(first, "group", topic, results.positions, apply_first, max_records=10):
        await asyncio.sleep(1)
        async with consuming(second, "group", topic, results.positions, apply_second, max_records=10):
            await eventually(lambda: applied_by["second"] >= 50, 30)
            await asyncio.sleep(0.5)
        await appending
        applied = await results.wait_for("group", values_of(records))
    assert doubles(applied) == []
    assert len(applied) == 1000
    assert_in_order_per_key(applied)
    assert applied_by["first"] > 0


async def test_a_member_that_is_killed_hands_its_partitions_over_within_seconds(
    open_log: OpenLog, kind: str, address: str, topic: str, results: Results
) -> None:
    log = await open_log()
    await log.append(topic, numbered(200, keys=30))

    async def apply(part: Slice) -> None:
        await results.apply("group", part)

    async with member("consume", kind, address, topic, results.database.url) as process:
        await read_lines(process, 5)
        async with consuming(log, "group", topic, results.positions, apply, max_records=5):
            await results.wait_for("group", values_of(numbered(200, keys=30)))
            process.kill()
            late = numbered(200, keys=30, start=200)
            await log.append(topic, late)
            applied = await results.wait_for("group", values_of(numbered(400, keys=30)), seconds=15)
    assert doubles(applied) == []
    assert_in_order_per_key(applied)


async def test_two_members_share_the_partitions(open_log: OpenLog, topic: str) -> None:
    logs = [await open_log(), await open_log()]
    await logs[0].append(topic, numbered(100, keys=30))
    seen: list[set[int]] = [set(), set()]

    async def read(number: int) -> None:
        async with logs[number].subscribe("group", topic, NoPositions()) as subscription:
            while True:
                for part in await subscription.read(max_records=100, max_wait=timedelta(seconds=0.2)):
                    seen[number].add(part.partition)
                    await asyncio.sleep(0.05)

    readers = [asyncio.create_task(read(number)) for number in range(2)]
    await asyncio.sleep(4)  # long enough for the group to settle
    for found in seen:
        found.clear()
    await logs[0].append(topic, numbered(100, keys=30, start=100))
    await eventually(lambda: len(set.union(*seen)) == 3, 10)
    await asyncio.sleep(0.5)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    assert sorted(map(len, seen)) == [1, 2]
    assert set.intersection(*seen) == set()


async def test_a_member_without_a_partition_waits_and_takes_over(
    open_log: OpenLog, topic: str, results: Results
) -> None:
    logs = [await open_log() for _ in range(2)]
    applied_by_last = 0

    async def apply(part: Slice) -> None:
        await results.apply("group", part)

    async def apply_last(part: Slice) -> None:
        nonlocal applied_by_last
        await results.apply("group", part)
        applied_by_last += 1

    records = numbered(60, keys=30)
    async with consuming(logs[1], "group", topic, results.positions, apply_last):
        async with (
            consuming(logs[0], "group", topic, results.positions, apply),
            consuming(logs[0], "group", topic, results.positions, apply),
            consuming(logs[0], "group", topic, results.positions, apply),
        ):
            await logs[0].append(topic, records[:30])
            await results.wait_for("group", values_of(records[:30]))
        await logs[0].append(topic, records[30:])
        applied = await results.wait_for("group", values_of(records))
    assert doubles(applied) == []
    assert applied_by_last > 0
