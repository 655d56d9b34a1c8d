"""Where each group stands, kept in Postgres beside the group's results: the fence against double work.

The table belongs to the service that consumes. Its migration creates it, in the service's own schema:

    CREATE TABLE usage.positions (
        consumer_group text NOT NULL,
        topic text NOT NULL,
        partition integer NOT NULL,
        next_offset bigint NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (consumer_group, topic, partition)
    ) WITH (fillfactor = 50);

The free half of each page keeps the frequent updates in place (HOT), without touching the index.
"""

from collections.abc import Collection

from shared.event_log.port import FencedError, Slice
from shared.postgres import Connection, Database

LIST_POSITIONS = """
SELECT partition, next_offset
  FROM {schema}.positions
 WHERE consumer_group = $1 AND topic = $2 AND partition = ANY($3::integer[])
"""

LIST_ALL_POSITIONS = """
SELECT partition, next_offset FROM {schema}.positions WHERE consumer_group = $1 AND topic = $2
"""

# No row yet means that the group starts here, wherever the topic's earliest record is by now. Two members
# that both start meet at the primary key: the second one waits for the first, and finds another position.
ADVANCE_POSITION = """
INSERT INTO {schema}.positions AS stored (consumer_group, topic, partition, next_offset)
VALUES ($1, $2, $3, $5)
ON CONFLICT (consumer_group, topic, partition) DO UPDATE
   SET next_offset = excluded.next_offset, applied_at = now()
 WHERE stored.next_offset = $4
RETURNING true
"""


class PostgresPositions:
    """Positions in the table `positions` of one schema."""

    def __init__(self, database: Database, schema: str) -> None:
        self._database = database
        self._list_positions = LIST_POSITIONS.format(schema=schema)
        self._advance_position = ADVANCE_POSITION.format(schema=schema)

    async def load(self, group: str, topic: str, partitions: Collection[int]) -> dict[int, int]:
        """The next offset to apply, per partition; one that is missing starts at the earliest record.

        Raises:
            UnavailableError: the database is away.
        """
        async with self._database.connection() as connection:
            rows = await connection.fetch(self._list_positions, group, topic, list(partitions))
        return {row["partition"]: row["next_offset"] for row in rows}

    async def advance(
        self,
        connection: Connection,
        group: str,
        topic: str,
        partition: int,
        *,
        expected: int,
        next_offset: int,
    ) -> None:
        """Move the position, in the transaction that stores the results; do it first, to fail early.

        Until that transaction ends, any other member that wants to apply the same partition waits here.
        So each range of offsets is applied once, whatever the log believes about who reads what.

        Args:
            connection: the transaction that stores the results.
            group: the consumer group.
            topic: the topic's name.
            partition: the partition that is being applied.
            expected: the position that the slice starts from, `Slice.expected`.
            next_offset: the position once it is applied, `Slice.next_offset`.

        Raises:
            FencedError: another member has moved it; roll back.
        """
        moved = await connection.fetchval(
            self._advance_position, group, topic, partition, expected, next_offset
        )
        if moved is None:
            raise FencedError(f"{group} is no longer at {topic}/{partition}@{expected}")

    async def advance_past(self, connection: Connection, group: str, taken: Slice) -> None:
        """Move the position past a slice; see `advance`.

        Raises:
            FencedError: another member has moved it; roll back.
        """
        await self.advance(
            connection,
            group,
            taken.topic,
            taken.partition,
            expected=taken.expected,
            next_offset=taken.next_offset,
        )


async def list_positions(connection: Connection, schema: str, group: str, topic: str) -> dict[int, int]:
    """Where a group stands on every partition that it has begun, as this connection sees it."""
    rows = await connection.fetch(LIST_ALL_POSITIONS.format(schema=schema), group, topic)
    return {row["partition"]: row["next_offset"] for row in rows}
