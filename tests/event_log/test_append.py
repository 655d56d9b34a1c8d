"""What every event log promises to those who append."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import NotFoundError, TooLargeError, UnavailableError
from shared.event_log import MAX_RECORD_BYTES, EventLog, Record
from tests.event_log.conftest import OpenLog
from tests.event_log.reading import read_all
from tests.event_log.results import assert_in_order_per_key, numbered, values_of

TRACEPARENT = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


async def test_what_is_appended_is_read_back_at_the_positions_told(log: EventLog, topic: str) -> None:
    records = numbered(50)
    positions = await log.append(topic, records)
    assert len(positions) == 50
    stored = {(record.partition, record.offset): record for record in await read_all(log, topic)}
    assert [stored[position].value for position in positions] == values_of(records)
    assert [stored[position].key for position in positions] == [record.key for record in records]


async def test_records_of_one_key_share_a_partition_and_keep_their_order(log: EventLog, topic: str) -> None:
    partitions = defaultdict(set)
    for n in range(20):
        records = numbered(10, start=n * 10)
        for record, position in zip(records, await log.append(topic, records), strict=True):
            partitions[record.key].add(position.partition)
    assert all(len(found) == 1 for found in partitions.values())
    assert len(set.union(*partitions.values())) > 1
    assert_in_order_per_key(values_of(await read_all(log, topic)))  # type: ignore[arg-type]  # both have values


async def test_another_process_puts_a_key_into_the_same_partition(open_log: OpenLog, topic: str) -> None:
    here, there = await open_log(), await open_log()
    for record in numbered(10):
        (mine,), (theirs,) = await here.append(topic, [record]), await there.append(topic, [record])
        assert mine.partition == theirs.partition
        assert mine.offset + 1 == theirs.offset


async def test_concurrent_appends_get_positions_without_gap_or_double(open_log: OpenLog, topic: str) -> None:
    logs = [await open_log() for _ in range(3)]

    async def append(n: int) -> list[tuple[int, int]]:
        return [
            position
            for round_ in range(10)
            for position in await logs[n % 3].append(topic, numbered(1 + n % 3, start=n * 100 + round_))
        ]

    positions = [position for found in await asyncio.gather(*map(append, range(30))) for position in found]
    offsets = defaultdict(list)
    for partition, offset in positions:
        offsets[partition].append(offset)
    for partition, found in offsets.items():
        assert sorted(found) == list(range(len(found))), partition
    assert await logs[0].ends(topic) == {number: len(offsets[number]) for number in range(3)}
    assert len(await read_all(logs[0], topic)) == len(positions)


async def test_nothing_to_append_is_nothing_done(log: EventLog, topic: str) -> None:
    assert await log.append(topic, []) == []
    assert set((await log.ends(topic)).values()) == {0}


async def test_headers_key_value_and_time_come_back_as_they_were(log: EventLog, topic: str) -> None:
    headers = (TRACEPARENT, ("again", b"\x00\xff"), ("again", b""), ("ümlaut", "ß".encode()))
    before = datetime.now(UTC) - timedelta(seconds=2)
    await log.append(topic, [Record(b"\x00key\xff", b"\x00value\xff", headers), Record(b"\x00key\xff", b"")])
    first, second = await read_all(log, topic)
    assert (first.topic, first.key, first.value, first.headers) == (
        topic,
        b"\x00key\xff",
        b"\x00value\xff",
        headers,
    )
    assert (second.value, second.headers) == (b"", ())
    assert before <= first.appended_at <= datetime.now(UTC) + timedelta(seconds=2)


async def test_large_records_pass_and_too_large_ones_are_refused_whole(log: EventLog, topic: str) -> None:
    # Bytes that do not compress, all for one partition, more than one request takes.
    large = [Record(b"key", bytes([n]) + hash_bytes(n, 900_000 - 4)) for n in range(4)]
    await log.append(topic, large)
    with pytest.raises(TooLargeError, match=str(MAX_RECORD_BYTES)):
        await log.append(topic, [Record(b"key", b"small"), Record(b"key", bytes(MAX_RECORD_BYTES))])
    with pytest.raises(TooLargeError):
        await log.append(topic, [Record(b"key", b"", (("name", bytes(MAX_RECORD_BYTES)),))])
    exact = Record(b"key", hash_bytes(9, MAX_RECORD_BYTES - 3))
    await log.append(topic, [exact])
    assert values_of(await read_all(log, topic)) == values_of([*large, exact])  # type: ignore[arg-type]  # both have values


def hash_bytes(seed: int, count: int) -> bytes:
    """Noise, the same each time."""
    import random

    return random.Random(seed).randbytes(count)


async def test_a_thousand_small_records_pass_in_one_append(log: EventLog, topic: str) -> None:
    records = numbered(1000)
    positions = await log.append(topic, records)
    assert len(set(positions)) == 1000
    assert_in_order_per_key(values_of(await read_all(log, topic)))  # type: ignore[arg-type]  # both have values


async def test_a_topic_that_nobody_made_is_not_found(
    log: EventLog, unique_name: Callable[[str], str]
) -> None:
    missing = unique_name("missing")
    with pytest.raises(NotFoundError, match=missing):
        await log.append(missing, numbered(1))
    with pytest.raises(NotFoundError, match=missing):
        await log.ends(missing)


async def test_a_topic_keeps_the_partitions_it_was_made_with(
    open_log: OpenLog, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("topic")
    logs = [await open_log() for _ in range(3)]
    await asyncio.gather(*(each.ensure_topics({name: 5}) for each in logs))
    await logs[0].ensure_topics({name: 7})
    assert sorted(await (await open_log()).ends(name)) == [0, 1, 2, 3, 4]


async def test_a_caller_that_goes_away_disturbs_nobody(log: EventLog, topic: str) -> None:
    tasks = [asyncio.create_task(log.append(topic, [record])) for record in numbered(60)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    stored = {(record.partition, record.offset): record.value for record in await read_all(log, topic)}
    for n, outcome in enumerate(outcomes):
        if n % 2:
            assert isinstance(outcome, list)
            assert stored[outcome[0]] == numbered(60)[n].value
        else:
            assert isinstance(outcome, asyncio.CancelledError)


async def test_closing_stores_what_was_accepted_and_refuses_what_comes_later(
    open_log: OpenLog, log: EventLog, topic: str
) -> None:
    leaving = await open_log()
    await leaving.ends(topic)  # so that it knows the topic
    tasks = [asyncio.create_task(leaving.append(topic, [record])) for record in numbered(200)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await leaving.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    accepted = [outcome for outcome in outcomes if isinstance(outcome, list)]
    assert accepted
    assert all(isinstance(outcome, list | UnavailableError) for outcome in outcomes)
    assert len(await read_all(log, topic)) == len(accepted)
    with pytest.raises(UnavailableError):
        await leaving.append(topic, numbered(1))
