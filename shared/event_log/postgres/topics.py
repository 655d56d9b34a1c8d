"""Topics and their partitions: in memory once read, since they never change."""

import logging
from collections.abc import Mapping
from typing import Final, NamedTuple
from zlib import crc32

from shared.errors import NotFoundError
from shared.postgres import Connection, Database

logger = logging.getLogger(__name__)

LIST_PARTITIONS: Final = """
SELECT topic, partition_id FROM event_log.partitions ORDER BY topic, partition
"""

INSERT_PARTITIONS: Final = """
INSERT INTO event_log.partitions (topic, partition)
SELECT $1, generate_series(0, $2::integer - 1)
 WHERE NOT EXISTS (SELECT FROM event_log.partitions WHERE topic = $1)
"""


class Topic(NamedTuple):
    """A topic and the ids of its partitions, by number."""

    name: str
    partition_ids: tuple[int, ...]

    def partition_of(self, key: bytes) -> int:
        """The partition that a key belongs to, for ever."""
        return crc32(key) % len(self.partition_ids)


class Topics:
    """What topics there are."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Topic] = {}

    def find(self, name: str) -> Topic | None:
        """The topic, if this process has met it before."""
        return self._known.get(name)

    async def get(self, name: str) -> Topic:
        """The topic.

        Raises:
            NotFoundError: there is none of this name.
            UnavailableError: the database is away.
        """
        if name not in self._known:
            async with self._database.connection() as connection:
                self._known.update(await list_topics(connection))
        try:
            return self._known[name]
        except KeyError:
            raise NotFoundError(f"There is no topic {name}.") from None

    async def ensure(self, topics: Mapping[str, int]) -> None:
        """Create the topics that are missing, with so many partitions each.

        Raises:
            UnavailableError: the database is away.
        """
        async with self._database.transaction() as connection:
            # Two processes that start at once and disagree must not each create a half.
            await connection.execute("LOCK TABLE event_log.partitions IN SHARE ROW EXCLUSIVE MODE")
            await connection.executemany(INSERT_PARTITIONS, topics.items())
            self._known.update(await list_topics(connection))
        for name, wanted in topics.items():
            found = len(self._known[name].partition_ids)
            if found != wanted:
                logger.warning("topic %s keeps its %d partitions; %d were asked for", name, found, wanted)


async def list_topics(connection: Connection) -> dict[str, Topic]:
    """Every topic, by name."""
    ids: dict[str, list[int]] = {}
    for row in await connection.fetch(LIST_PARTITIONS):
        ids.setdefault(row["topic"], []).append(row["partition_id"])
    return {name: Topic(name, tuple(partition_ids)) for name, partition_ids in ids.items()}
