"""Reading a subscription to its end, and running consumers beside a test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from shared.event_log import EventLog, Positions, Slice, StoredRecord, Subscription, run_consumer


async def eventually(happened: Callable[[], bool], seconds: float) -> None:
    """Wait until it has happened."""
    async with asyncio.timeout(seconds):
        while not happened():  # noqa: ASYNC110 - the things that tests wait for ring no bell
            await asyncio.sleep(0.02)


class NoPositions:
    """A group that always starts at the earliest record."""

    async def load(self, group: str, topic: str, partitions: object) -> dict[int, int]:
        return {}


async def read_records(
    subscription: Subscription, count: int, *, max_records: int = 1000, seconds: float = 15
) -> list[StoredRecord]:
    """Read until there are so many records."""
    records: list[StoredRecord] = []
    async with asyncio.timeout(seconds):
        while len(records) < count:
            for part in await subscription.read(max_records=max_records, max_wait=timedelta(seconds=1)):
                records += part.records
    return records


async def read_all(log: EventLog, topic: str, positions: Positions | None = None) -> list[StoredRecord]:
    """Everything that the topic has at present, in order per partition."""
    ends = await log.ends(topic)
    async with log.subscribe("reader-of-everything", topic, positions or NoPositions()) as subscription:
        return await read_records(subscription, sum(ends.values()))


@asynccontextmanager
async def consuming(
    log: EventLog,
    group: str,
    topic: str,
    positions: Positions,
    apply: Callable[[Slice], Awaitable[None]],
    *,
    max_records: int = 100,
) -> AsyncIterator[asyncio.Event]:
    """A consumer in the background; it is told to stop at the end, and must do so within seconds."""
    stop = asyncio.Event()
    task = asyncio.create_task(
        run_consumer(log, group, topic, positions, apply, stop=stop, max_records=max_records)
    )
    try:
        yield stop
    finally:
        stop.set()
        try:
            async with asyncio.timeout(20):
                await task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
