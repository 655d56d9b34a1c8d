"""The writer: all of a process's appends through one statement on one connection of its own."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from shared.errors import UnavailableError
from shared.event_log.lane import Append, Lane, measure
from shared.event_log.port import Position, Record
from shared.event_log.postgres.batch import Batch
from shared.event_log.postgres.topics import Topic
from shared.postgres import OwnedConnection, open_connection, translated

APPEND_RECORDS: Final = "SELECT event_log.append($1, $2, $3, $4, $5, $6)"

SESSION: Final = {
    "default_transaction_isolation": "read committed",  # event_log.append() rests on it
    "enable_seqscan": "off",  # a plan made while the table is empty must not outlive that
    "enable_bitmapscan": "off",
    "jit": "off",
    "lock_timeout": "3s",
}


class Writer:
    """Stores what several callers append at the same time in one commit; made by `open_writer`."""

    def __init__(self, url: str, timeout: timedelta, on_commit: Callable[[set[str]], None]) -> None:
        self._url = url
        self._timeout = timeout
        self._on_commit = on_commit
        self._connection: OwnedConnection | None = None
        self._append_records: Callable[..., Awaitable[Any]] | None = None
        self._lane = Lane("event-log", self._store, self._probe, timeout)

    def append(self, topic: Topic, records: Sequence[Record]) -> "asyncio.Future[list[Position]]":
        """Queue records; see `Lane.put`.

        Raises:
            TooLargeError: a record is larger than a record may be.
            UnavailableError: as `Lane.put`.
        """
        return self._lane.put(topic, records, measure(records))

    async def close(self) -> None:
        """Store what was accepted, then disconnect."""
        await self._lane.close()
        if self._connection is not None:
            with contextlib.suppress(UnavailableError), translated():
                await self._connection.close(timeout=2)

    async def _store(self, appends: list[Append[Topic]]) -> None:
        append_records = self._append_records or await self.connect()
        batch = Batch(appends)
        try:
            with translated():
                first_offsets = await append_records(*batch.arguments)
        except UnavailableError:
            self._disconnect()
            raise
        batch.resolve(first_offsets)
        self._on_commit(batch.topics())

    async def connect(self) -> Callable[..., Awaitable[Any]]:
        """Connect, in place of any earlier connection, and prepare the statement.

        Raises:
            UnavailableError: the database is away.
        """
        self._disconnect()
        connection = await open_connection(
            self._url,
            application_name="llmring-event-log-writer",
            settings=SESSION,
            statement_timeout=self._timeout,
        )
        try:
            with translated():
                # An operator may have relaxed this for other uses; here an answer means: on the disk.
                if await connection.fetchval("SHOW synchronous_commit") == "off":
                    await connection.execute("SET synchronous_commit = on")
                statement = await connection.prepare(APPEND_RECORDS)
        except BaseException:
            connection.terminate()
            raise
        self._connection, self._append_records = connection, statement.fetchval
        return statement.fetchval

    async def _probe(self) -> None:
        await self.connect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._connection = self._append_records = None


async def open_writer(url: str, append_timeout: timedelta, on_commit: Callable[[set[str]], None]) -> Writer:
    """Connect and begin.

    Args:
        url: the database.
        append_timeout: how long a caller waits.
        on_commit: called with the names of the topics that got records, after each commit.

    Raises:
        UnavailableError: the database is away.
    """
    writer = Writer(url, append_timeout, on_commit)
    try:
        await writer.connect()
    except BaseException:
        await writer.close()
        raise
    return writer
