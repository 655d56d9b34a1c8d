"""Trimming: records that are old enough, and that every group has passed, are deleted, oldest first.

A batch deletes the first records of one partition and locks nothing else, so neither appends nor readers wait
for it. The newest record of a partition always stays: the next offset is counted from it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from shared.errors import LLMRingError, NotFoundError
from shared.event_log.port import Positions
from shared.event_log.postgres.records import list_ends
from shared.event_log.postgres.topics import Topic, Topics
from shared.postgres import Database
from shared.stopping import is_set_within

logger = logging.getLogger(__name__)

EVERY: Final = timedelta(minutes=10)
BATCH_RECORDS: Final = 1_000

_PAUSE_SECONDS: Final = 0.05
_LOCK: Final = 0x6C6C6D72_74726D00

# Of the first records, those before the first one that is too young.
TRIM_RECORDS: Final = """
WITH oldest AS (
    SELECT ctid, record_offset, appended_at < clock_timestamp() - $4::interval AS is_old
      FROM event_log.records
     WHERE partition_id = $1 AND record_offset < $2
     ORDER BY record_offset
     LIMIT $3
)
DELETE FROM event_log.records
 WHERE ctid = ANY (ARRAY(
       SELECT ctid FROM oldest
        WHERE record_offset < coalesce((SELECT min(record_offset) FROM oldest WHERE NOT is_old), $2)))
"""

BY_INDEX: Final = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off"
"""A plan made while the table is empty must not outlive that."""

TRY_LOCK: Final = "SELECT pg_try_advisory_xact_lock($1)"


class Group(NamedTuple):
    """A consumer group that a topic's records must have passed before they may go."""

    name: str
    positions: Positions


class Trimmer:
    """Lets the log in Postgres forget.

    Args:
        database: where the log is.
        retention: topic -> how old its records may become. A topic that is None or missing is kept for ever.
        groups: topic -> every group that reads it.
    """

    def __init__(
        self,
        database: Database,
        retention: Mapping[str, timedelta | None],
        groups: Mapping[str, Sequence[Group]],
    ) -> None:
        self._database = database
        self._topics = Topics(database)
        self._retention = retention
        self._groups = groups

    async def run(self, stop: asyncio.Event) -> None:
        """Trim now and then until told to stop. Of several processes, one at a time does."""
        while not stop.is_set():
            try:
                await self.trim(stop)
            except LLMRingError as error:
                logger.warning("the event log is not trimmed now: %s", error.detail)
            await is_set_within(stop, EVERY.total_seconds())

    async def trim(self, stop: asyncio.Event | None = None) -> int:
        """Delete what may go now; how many records that were.

        Raises:
            UnavailableError: the database is away.
        """
        total = 0
        for name, keep in self._retention.items():
            if keep is None:
                continue
            try:
                topic = await self._topics.get(name)
            except NotFoundError:
                continue
            for partition, limit in (await self._find_limits(topic)).items():
                count = await self._trim_partition(topic.partition_ids[partition], limit, keep, stop)
                if count:
                    logger.info("%s/%d: %d old records are deleted", name, partition, count)
                total += count
        return total

    async def _find_limits(self, topic: Topic) -> dict[int, int]:
        """Per partition, the first offset that must stay whatever its age."""
        async with self._database.connection() as connection:
            ends = await list_ends(connection, topic)
        limits = {partition: end - 1 for partition, end in ends.items()}
        for group in self._groups.get(topic.name, ()):
            passed = await group.positions.load(group.name, topic.name, list(limits))
            limits = {partition: min(limit, passed.get(partition, 0)) for partition, limit in limits.items()}
        return limits

    async def _trim_partition(
        self, partition_id: int, limit: int, keep: timedelta, stop: asyncio.Event | None
    ) -> int:
        total = 0
        while stop is None or not stop.is_set():
            async with self._database.transaction() as connection:
                if not await connection.fetchval(TRY_LOCK, _LOCK):
                    return total  # another process is at it
                await connection.execute(BY_INDEX)
                tag = await connection.execute(TRIM_RECORDS, partition_id, limit, BATCH_RECORDS, keep)
            count = int(tag.removeprefix("DELETE "))
            total += count
            if count < BATCH_RECORDS:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        return total
