"""What cannot be processed is kept with its reason."""

import asyncio

from shared.contracts.topics import USAGE_DEAD
from shared.event_log import EventLog, Record, dead_letter
from tests.event_log.reading import read_all


async def test_a_dead_letter_keeps_the_bytes_and_says_where_they_came_from(log: EventLog, topic: str) -> None:
    trace = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    await log.append(topic, [Record(b"key", b"\xff\xfe", (trace,))])
    (record,) = await read_all(log, topic)
    async with log.tail(USAGE_DEAD) as dead, asyncio.timeout(10):
        await dead_letter(log, record, "the value is not JSON: " + "é" * 5000)
        while (found := await anext(dead)).headers[2:3] != (("dead-letter-topic", topic.encode()),):
            pass  # another test's
    headers = dict(found.headers)
    assert (found.key, found.value) == (b"key", b"\xff\xfe")
    assert found.headers[0] == trace
    assert headers["dead-letter-reason"].decode().startswith("the value is not JSON: é")
    assert len(headers["dead-letter-reason"]) <= 1_000
    assert headers["dead-letter-partition"] == str(record.partition).encode()
    assert headers["dead-letter-offset"] == b"0"
