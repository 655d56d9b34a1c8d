"""What every event log promises to those who read."""

import asyncio
from collections.abc import Collection
from datetime import timedelta

import pytest

from shared.errors import UnavailableError
from shared.event_log import (
    EventLog,
    FencedError,
    PositionLostError,
    PostgresPositions,
    Slice,
    StoredRecord,
)
from tests.event_log.conftest import OpenLog
from tests.event_log.reading import NoPositions, consuming, read_records
from tests.event_log.results import Results, assert_in_order_per_key, doubles, numbered, values_of


async def test_a_new_group_starts_at_the_earliest_record(log: EventLog, topic: str, results: Results) -> None:
    early, late = numbered(10), numbered(10, start=10)
    await log.append(topic, early)

    async def apply(part: Slice) -> None:
        await results.apply("group", part)

    async with consuming(log, "group", topic, results.positions, apply):
        await results.wait_for("group", values_of(early))
        await log.append(topic, late)
        applied = await results.wait_for("group", values_of([*early, *late]))
    assert len(applied) == 20
    assert_in_order_per_key(applied)


async def test_slices_are_consecutive_and_say_where_they_start_and_end(log: EventLog, topic: str) -> None:
    await log.append(topic, numbered(500, keys=30))
    next_offsets = dict.fromkeys(range(3), 0)
    seen = 0
    async with log.subscribe("group", topic, NoPositions()) as subscription, asyncio.timeout(15):
        while seen < 500:
            slices = await subscription.read(max_records=40, max_wait=timedelta(seconds=1))
            assert sum(len(part.records) for part in slices) <= 40
            assert len({part.partition for part in slices}) == len(slices)
            for part in slices:
                assert part.expected == next_offsets[part.partition]
                assert [record.offset for record in part.records] == list(
                    range(part.expected, part.next_offset)
                )
                next_offsets[part.partition] = part.next_offset
                seen += len(part.records)
        assert await subscription.read(max_records=40, max_wait=timedelta(0)) == []
    assert next_offsets == await log.ends(topic)


async def test_several_groups_each_read_everything(log: EventLog, topic: str, results: Results) -> None:
    records = numbered(100)

    async def apply_one(part: Slice) -> None:
        await results.apply("one", part)

    async def apply_two(part: Slice) -> None:
        await results.apply("two", part)

    async with (
        consuming(log, "one", topic, results.positions, apply_one),
        consuming(log, "two", topic, results.positions, apply_two),
    ):
        await log.append(topic, records)
        for group in ("one", "two"):
            assert sorted(await results.wait_for(group, values_of(records))) == sorted(values_of(records))


async def test_a_group_resumes_at_its_stored_position_whatever_the_broker_believes(
    open_log: OpenLog, topic: str, results: Results
) -> None:
    first, second = await open_log(), await open_log()
    early, late = numbered(30), numbered(30, start=30)

    async def apply(part: Slice) -> None:
        await results.apply("group", part)

    await first.append(topic, early)
    async with consuming(first, "group", topic, results.positions, apply):
        await results.wait_for("group", values_of(early))
    await first.append(topic, late)
    async with results.database.transaction() as connection:  # a person sets the group back
        await connection.execute("UPDATE results.positions SET next_offset = 1")
        await connection.execute("DELETE FROM results.applied WHERE record_offset >= 1")
    async with consuming(second, "group", topic, results.positions, apply):
        applied = await results.wait_for("group", values_of([*early, *late]))
    assert doubles(applied) == []
    assert_in_order_per_key(applied)


async def test_a_failing_slice_comes_again_and_nothing_behind_it_is_applied_before(
    log: EventLog, topic: str, results: Results, caplog: pytest.LogCaptureFixture
) -> None:
    records = numbered(60, keys=6)
    failures = iter([UnavailableError("away"), OSError("broken pipe"), RuntimeError("a fault of ours")])

    async def apply(part: Slice) -> None:
        if part.partition == poisoned and (error := next(failures, None)) is not None:
            raise error
        await results.apply("group", part)

    poisoned = (await log.append(topic, records))[0].partition
    async with consuming(log, "group", topic, results.positions, apply, max_records=7):
        applied = await results.wait_for("group", values_of(records))
    assert doubles(applied) == []
    assert_in_order_per_key(applied)
    levels = [entry.levelname for entry in caplog.records if entry.name == "shared.event_log.consumer"]
    assert levels.count("WARNING") == 2
    assert levels.count("ERROR") == 1


async def test_a_slice_that_was_stored_before_the_failure_is_not_stored_again(
    log: EventLog, topic: str, results: Results
) -> None:
    records = numbered(40)
    failed: set[int] = set()

    async def apply(part: Slice) -> None:
        await results.apply("group", part)
        if part.partition not in failed:
            failed.add(part.partition)
            raise UnavailableError("the answer to the commit was lost")

    await log.append(topic, records)
    async with consuming(log, "group", topic, results.positions, apply):
        await log.append(topic, numbered(40, start=40))
        applied = await results.wait_for("group", values_of(numbered(80)))
    assert doubles(applied) == []
    assert_in_order_per_key(applied)


async def test_a_member_that_lost_its_partition_is_fenced(
    log: EventLog, topic: str, results: Results
) -> None:
    await log.append(topic, numbered(10, keys=1))
    async with log.subscribe("zombie", topic, NoPositions()) as subscription, asyncio.timeout(15):
        (stale,) = await _read_something(log, topic, "group")
        await results.apply("group", stale)
        with pytest.raises(FencedError):
            await results.apply("group", stale)
        assert doubles(await results.list_values("group")) == []
        assert subscription is not None


async def _read_something(log: EventLog, topic: str, group: str) -> list[Slice]:
    async with log.subscribe(group, topic, NoPositions()) as subscription:
        while True:
            if found := await subscription.read(max_records=100, max_wait=timedelta(seconds=1)):
                return found


async def test_two_first_members_that_start_at_once_apply_once(
    log: EventLog, topic: str, results: Results
) -> None:
    await log.append(topic, numbered(10, keys=1))
    (part,) = await _read_something(log, topic, "group")
    outcomes = await asyncio.gather(*(results.apply("group", part) for _ in range(4)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        "FencedError",
        "FencedError",
        "FencedError",
        "NoneType",
    ]
    assert len(await results.list_values("group")) == 10


async def test_rewind_delivers_again_from_the_stored_position(log: EventLog, topic: str) -> None:
    stored: dict[int, int] = {}

    class Positions:
        async def load(self, group: str, topic: str, partitions: Collection[int]) -> dict[int, int]:
            return {number: stored[number] for number in partitions if number in stored}

    await log.append(topic, numbered(10, keys=1))
    async with log.subscribe("group", topic, Positions()) as subscription:
        first = await read_records(subscription, 10)
        stored[first[0].partition] = 4
        subscription.rewind(first[0].partition)
        assert await read_records(subscription, 6) == first[4:]


async def test_a_position_beyond_the_end_stops_the_group_instead_of_skipping(
    log: EventLog, topic: str
) -> None:
    class Positions:
        async def load(self, group: str, topic: str, partitions: Collection[int]) -> dict[int, int]:
            return dict.fromkeys(partitions, 1000)

    await log.append(topic, numbered(10))
    async with log.subscribe("group", topic, Positions()) as subscription:
        with pytest.raises(PositionLostError, match="1000"):
            await read_records(subscription, 1)


async def test_positions_that_cannot_be_loaded_are_no_reason_to_start_elsewhere(
    log: EventLog, topic: str
) -> None:
    failures = iter([UnavailableError("away"), UnavailableError("away")])

    class Positions:
        async def load(self, group: str, topic: str, partitions: Collection[int]) -> dict[int, int]:
            if (error := next(failures, None)) is not None:
                raise error
            return dict.fromkeys(partitions, 3)

    await log.append(topic, numbered(30, keys=9))
    ends = await log.ends(topic)
    records: list[StoredRecord] = []
    async with log.subscribe("group", topic, Positions()) as subscription, asyncio.timeout(15):
        failed = 0
        while len(records) < sum(end - 3 for end in ends.values()):
            try:
                for part in await subscription.read(max_records=100, max_wait=timedelta(seconds=1)):
                    records += part.records
            except UnavailableError:
                failed += 1
    assert failed == 2
    assert min(record.offset for record in records) == 3


async def test_a_consumer_stops_after_the_slice_in_hand(
    log: EventLog, topic: str, results: Results, positions: PostgresPositions
) -> None:
    applying, go_on = asyncio.Event(), asyncio.Event()

    async def apply(part: Slice) -> None:
        applying.set()
        await go_on.wait()
        await results.apply("group", part)

    await log.append(topic, numbered(30, keys=9))
    async with consuming(log, "group", topic, positions, apply, max_records=5) as stop, asyncio.timeout(20):
        await applying.wait()
        stop.set()
        await asyncio.sleep(0.1)
        go_on.set()
    applied = await results.list_values("group")
    assert 1 <= len(applied) <= 5

    async def apply_rest(part: Slice) -> None:
        await results.apply("group", part)

    async with consuming(log, "group", topic, positions, apply_rest):
        rest = await results.wait_for("group", values_of(numbered(30, keys=9)))
    assert doubles(rest) == []


async def test_an_idle_consumer_stops_at_once(log: EventLog, topic: str, results: Results) -> None:
    async def apply(part: Slice) -> None:
        await results.apply("group", part)

    loop = asyncio.get_running_loop()
    async with consuming(log, "group", topic, results.positions, apply):
        await log.append(topic, numbered(1))
        await results.wait_for("group", values_of(numbered(1)))
        started = loop.time()
    assert loop.time() - started < 3
