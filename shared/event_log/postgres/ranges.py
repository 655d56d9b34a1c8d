"""Reading a range: partition by partition, in batches, from the table itself."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from typing import Final

from shared.errors import UnavailableError
from shared.event_log.port import Slice, StoredRecord
from shared.event_log.postgres.records import list_records
from shared.event_log.postgres.topics import Topic
from shared.postgres import Database

logger = logging.getLogger(__name__)

_BATCH_RECORDS: Final = 1_000
_PATIENCE_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 0.5


async def read_ranges(
    database: Database, topic: Topic, starts: Mapping[int, int], ends: Mapping[int, int]
) -> AsyncGenerator[Slice, None]:
    """See `EventLog.read_range`."""
    for partition, start in sorted(starts.items()):
        expected, end = start, ends.get(partition, start)
        while expected < end:
            records = [
                record
                for record in await _list_patiently(database, topic, partition, expected)
                if record.offset < end
            ]
            if not records:
                break
            if records[0].offset > expected:
                logger.warning(
                    "%s/%d: %d to %d are gone", topic.name, partition, expected, records[0].offset - 1
                )
            part = Slice(topic.name, partition, tuple(records), expected)
            expected = part.next_offset
            yield part


async def _list_patiently(database: Database, topic: Topic, partition: int, start: int) -> list[StoredRecord]:
    """The next records; an outage is waited for, for a while."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    while True:
        try:
            async with database.connection() as connection:
                found = await list_records(connection, topic, {partition: start}, _BATCH_RECORDS)
        except UnavailableError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return found.get(partition, [])
