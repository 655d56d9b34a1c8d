"""What cannot be processed is kept with its reason."""

import asyncio
from datetime import UTC, datetime

import pytest

from shared.contracts.topics import USAGE_DEAD
from shared.event_log import MAX_RECORD_BYTES, EventLog, Poison, Record, StoredRecord, dead_letter
from tests.event_log.reading import read_all


async def test_a_dead_letter_keeps_the_bytes_and_says_where_they_came_from(log: EventLog, topic: str) -> None:
    trace = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    await log.append(topic, [Record(b"key", b"\xff\xfe", (trace,))])
    (record,) = await read_all(log, topic)
    async with log.tail(USAGE_DEAD) as dead, asyncio.timeout(10):
        await dead_letter(log, [Poison(record, "the value is not JSON: " + "é" * 5000)])
        while (found := await anext(dead)).headers[2:3] != (("dead-letter-topic", topic.encode()),):
            pass  # another test's
    headers = dict(found.headers)
    assert (found.key, found.value) == (b"key", b"\xff\xfe")
    assert found.headers[0] == trace
    assert headers["dead-letter-reason"].decode().startswith("the value is not JSON: é")
    assert len(headers["dead-letter-reason"]) <= 1_000
    assert headers["dead-letter-partition"] == str(record.partition).encode()
    assert headers["dead-letter-offset"] == b"0"


@pytest.mark.parametrize("large", ["value", "key", "headers"])
async def test_a_record_as_large_as_a_record_may_be_is_set_aside_all_the_same(
    log: EventLog, topic: str, large: str
) -> None:
    size = MAX_RECORD_BYTES + 48_000  # a foreign producer may go up to the broker's own limit
    record = StoredRecord(
        topic,
        2,
        17,
        b"k" * size if large == "key" else b"key",
        b"v" * size if large == "value" else b"value",
        (("h", b"h" * size),) if large == "headers" else (),
        datetime.now(UTC),
    )
    async with log.tail(USAGE_DEAD) as dead, asyncio.timeout(20):
        await dead_letter(log, [Poison(record, "too large")])
        while dict((found := await anext(dead)).headers)["dead-letter-topic"] != topic.encode():
            pass  # another test's
    headers = dict(found.headers)
    assert int(headers["dead-letter-cut"]) > size
    assert headers["dead-letter-offset"] == b"17"
    assert found.value is not None
    assert found.value[:5] == (b"vvvvv" if large == "value" else b"value")


async def test_many_are_set_aside_at_once(log: EventLog, topic: str) -> None:
    at = datetime.now(UTC)
    many = [StoredRecord(topic, 0, n, b"key", b"v" * 900_000, (), at) for n in range(10)]
    before = (await log.ends(USAGE_DEAD))[0]
    await dead_letter(log, (Poison(record, "no") for record in many))
    assert (await log.ends(USAGE_DEAD))[0] >= before + 10
    await dead_letter(log, [])
