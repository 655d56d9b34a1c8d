"""The event log in Postgres, as one object."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import Final

from shared.errors import UnavailableError
from shared.event_log.port import Position, Positions, Record, Slice, StoredRecord, TopicState
from shared.event_log.postgres.ranges import read_ranges
from shared.event_log.postgres.records import list_begins, list_ends, list_records
from shared.event_log.postgres.subscription import POLL_SECONDS, PostgresSubscription, open_subscription
from shared.event_log.postgres.topics import Topic, Topics
from shared.event_log.postgres.wakeups import Wakeups
from shared.event_log.postgres.writer import Writer, open_writer
from shared.postgres import Database, open_database

logger = logging.getLogger(__name__)

READER_SESSION: Final = {
    "enable_seqscan": "off",  # a plan made while the table is empty must not outlive that
    "enable_bitmapscan": "off",
    "jit": "off",
}

_TAIL_RECORDS: Final = 500
_RETRY_SECONDS: Final = 0.5


class PostgresEventLog:
    """An `EventLog` on the schema `event_log`; made by `open_postgres_event_log`."""

    def __init__(self, database: Database, topics: Topics, writer: Writer, wakeups: Wakeups) -> None:
        self._database = database
        self._topics = topics
        self._writer = writer
        self._wakeups = wakeups

    async def ensure_topics(self, topics: Mapping[str, int]) -> None:
        """See `EventLog.ensure_topics`."""
        await self._topics.ensure(topics)

    async def append(self, topic: str, records: Sequence[Record]) -> list[Position]:
        """See `EventLog.append`."""
        known = self._topics.find(topic) or await self._topics.get(topic)
        return await self._writer.append(known, records) if records else []

    @asynccontextmanager
    async def subscribe(
        self, group: str, topic: str, positions: Positions
    ) -> AsyncIterator[PostgresSubscription]:
        """See `EventLog.subscribe`."""
        known = await self._topics.get(topic)
        async with open_subscription(self._database, self._wakeups, known, group, positions) as subscription:
            yield subscription

    @asynccontextmanager
    async def tail(self, topic: str) -> AsyncIterator[AsyncIterator[StoredRecord]]:
        """See `EventLog.tail`."""
        known = await self._topics.get(topic)
        with self._wakeups.watch(topic) as bell:
            async with aclosing(self._follow(known, await self.ends(topic), bell)) as records:
                yield records

    @asynccontextmanager
    async def read_range(
        self, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> AsyncIterator[AsyncIterator[Slice]]:
        """See `EventLog.read_range`."""
        known = await self._topics.get(topic)
        async with aclosing(read_ranges(self._database, known, starts, ends)) as slices:
            yield slices

    async def begins(self, topic: str) -> dict[int, int]:
        """See `EventLog.begins`."""
        known = await self._topics.get(topic)
        async with self._database.connection() as connection:
            return await list_begins(connection, known)

    async def describe(self, topic: str) -> TopicState:
        """See `EventLog.describe`."""
        return TopicState(len((await self._topics.get(topic)).partition_ids))

    async def ends(self, topic: str) -> dict[int, int]:
        """See `EventLog.ends`."""
        known = await self._topics.get(topic)
        async with self._database.connection() as connection:
            return await list_ends(connection, known)

    async def ping(self) -> None:
        """See `EventLog.ping`."""
        await self._database.ping()

    async def close(self) -> None:
        """See `EventLog.close`."""
        await self._writer.close()
        await asyncio.gather(self._wakeups.close(), self._database.close())

    async def _follow(
        self, topic: Topic, starts: dict[int, int], bell: asyncio.Event
    ) -> AsyncGenerator[StoredRecord, None]:
        while True:
            bell.clear()
            try:
                async with self._database.connection() as connection:
                    found = await list_records(connection, topic, starts, _TAIL_RECORDS)
            except UnavailableError as error:
                logger.info("%s cannot be followed for now: %s", topic.name, error.__cause__ or error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for partition, records in found.items():
                for record in records:
                    starts[partition] = record.offset + 1
                    yield record
            if not found:
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await bell.wait()
                except TimeoutError:
                    continue


async def open_postgres_event_log(
    url: str, *, append_timeout: timedelta = timedelta(seconds=4), max_readers: int = 4
) -> PostgresEventLog:
    """Connect to an event log whose schema is migrated (`shared.event_log.postgres.SCHEMA`).

    Args:
        url: the database.
        append_timeout: how long an append may take, outages included.
        max_readers: connections that readers share.

    Raises:
        UnavailableError: the database is away.
    """
    database = await open_database(
        url,
        application_name="llmring-event-log",
        max_size=max_readers,
        statement_timeout=timedelta(seconds=10),
        settings=READER_SESSION,
    )
    wakeups = Wakeups(url)
    try:
        writer = await open_writer(url, append_timeout, wakeups.ring)
    except BaseException:
        await database.close()
        raise
    return PostgresEventLog(database, Topics(database), writer, wakeups)
