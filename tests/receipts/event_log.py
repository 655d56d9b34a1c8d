"""The real event log in Postgres, and a look at everything that a topic holds."""

import asyncio
import time
from collections.abc import Collection
from datetime import timedelta
from uuid import uuid4

from shared.contracts.topics import TOPICS
from shared.event_log.port import EventLog, StoredRecord
from shared.event_log.postgres import SCHEMA, open_postgres_event_log

EVENT_LOG_SCHEMA = SCHEMA


async def open_log(url: str) -> EventLog:
    log = await open_postgres_event_log(url)
    await log.ensure_topics(TOPICS)
    return log


class FromTheStart:
    """Positions of a reader that has read nothing yet."""

    async def load(self, group: str, topic: str, partitions: Collection[int]) -> dict[int, int]:
        return {}


async def read_all(event_log: EventLog, topic: str, *, wait_for: int = 0) -> list[StoredRecord]:
    """Every record of a topic, by partition, once there are `wait_for` of them."""
    until = time.monotonic() + 20
    while (total := sum((await event_log.ends(topic)).values())) < wait_for:
        assert time.monotonic() < until, f"{topic} has {total} records of {wait_for}"
        await asyncio.sleep(0.05)
    found: list[StoredRecord] = []
    async with event_log.subscribe(f"reader-{uuid4()}", topic, FromTheStart()) as subscription:
        while len(found) < total:
            assert time.monotonic() < until, f"{topic}: read {len(found)} of {total}"
            for part in await subscription.read(max_records=1000, max_wait=timedelta(seconds=1)):
                found += part.records
    return sorted(found, key=lambda record: (record.partition, record.offset))
