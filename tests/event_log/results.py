"""A consumer's results: what it applied, in the order in which it did, and how often."""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from shared.event_log import PostgresPositions, Record, Slice
from shared.postgres import Database, Schema, migrate

MIGRATION = """
CREATE TABLE results.positions (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 50);

-- No key: what is applied twice must be seen.
CREATE TABLE results.applied (
    number bigint GENERATED ALWAYS AS IDENTITY,
    consumer_group text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    value bytea
);
"""


async def create_results(url: str) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "0001_create_results.sql").write_text(MIGRATION)
        await migrate(url, [Schema("results", Path(folder))])


class Results:
    """Stores slices as a service does: rows and position in one transaction."""

    def __init__(self, database: Database, positions: PostgresPositions) -> None:
        self.database = database
        self.positions = positions

    async def apply(self, group: str, part: Slice) -> None:
        async with self.database.transaction() as connection:
            await self.positions.advance_past(connection, group, part)
            await connection.executemany(
                "INSERT INTO results.applied (consumer_group, partition, record_offset, value) "
                "VALUES ($1, $2, $3, $4)",
                [(group, part.partition, record.offset, record.value) for record in part.records],
            )

    async def list_values(self, group: str) -> list[bytes]:
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT value FROM results.applied WHERE consumer_group = $1 ORDER BY number", group
            )
        return [row["value"] for row in rows]

    async def wait_for(self, group: str, values: Collection[bytes], seconds: float = 30) -> list[bytes]:
        """Wait until all the values are applied; what is applied by then, in order."""
        wanted = set(values)
        applied: list[bytes] = []
        try:
            async with asyncio.timeout(seconds):
                while True:
                    applied = await self.list_values(group)
                    if wanted <= set(applied):
                        return applied
                    await asyncio.sleep(0.05)
        except TimeoutError:
            missing = sorted(wanted - set(applied))
            raise AssertionError(f"{len(missing)} never came, such as {missing[:5]}") from None


def numbered(count: int, *, keys: int = 10, start: int = 0) -> list[Record]:
    """Records `key-3:13`, so that a value tells its key and its place in the order."""
    return [
        Record(f"key-{n % keys}".encode(), f"key-{n % keys}:{n}".encode())
        for n in range(start, start + count)
    ]


def values_of(records: Sequence[Record]) -> list[bytes]:
    return [record.value for record in records]


def assert_in_order_per_key(values: Sequence[bytes]) -> None:
    last: dict[bytes, int] = {}
    for value in values:
        key, _, number = value.partition(b":")
        assert int(number) > last.get(key, -1), f"{value!r} came after {last[key]}"
        last[key] = int(number)


def doubles(values: Sequence[bytes]) -> list[bytes]:
    return [value for value, count in Counter(values).items() if count > 1]
