"""A consumer that is frozen, and wakes when its work has long gone to another."""

import asyncio
import signal

import pytest

from shared.event_log import Slice
from tests.event_log.conftest import OpenLog
from tests.event_log.processes import member, read_lines
from tests.event_log.reading import consuming
from tests.event_log.results import Results, doubles, numbered, values_of

RECORDS = 300


@pytest.mark.slow
async def test_a_consumer_that_was_frozen_for_long_counts_nothing_twice_when_it_wakes(
    open_log: OpenLog, kind: str, address: str, topic: str, results: Results
) -> None:
    log = await open_log()
    await log.append(topic, numbered(RECORDS, keys=30))

    async def apply(part: Slice) -> None:
        await results.apply("group", part)

    async with member("consume", kind, address, topic, results.database.url) as process:
        await read_lines(process, 5)
        process.send_signal(signal.SIGSTOP)
        async with consuming(log, "group", topic, results.positions, apply):
            await results.wait_for("group", values_of(numbered(RECORDS, keys=30)), seconds=30)
            process.send_signal(signal.SIGCONT)
            await log.append(topic, numbered(RECORDS, keys=30, start=RECORDS))
            await results.wait_for("group", values_of(numbered(2 * RECORDS, keys=30)), seconds=30)
            await asyncio.sleep(2)  # for what the woken one might still do
    applied = await results.wait_for("group", values_of(numbered(2 * RECORDS, keys=30)))
    assert doubles(applied) == []
    assert len(applied) == 2 * RECORDS
