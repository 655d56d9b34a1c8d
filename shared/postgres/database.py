"""The connection pool, and the only place that commits."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Final, Protocol

import asyncpg
from asyncpg.exceptions import InternalClientError

from shared.postgres.connect import CONNECT_TIMEOUT, KEEPALIVE
from shared.postgres.connection import Connection, OwnedConnection
from shared.postgres.failures import translated

_DRIVER: Final[Any] = asyncpg  # its functions carry no annotations

_IDLE_IN_TRANSACTION: Final = "15s"
"""A transaction whose process is gone or frozen may hold its locks for no longer than this.

A consumer's transaction waits for the event log in between, for a few seconds at most.
"""

_CLOSE_SECONDS: Final = 5.0


class _PooledConnection(asyncpg.Connection):
    """A connection that is given back without a round trip.

    Sessions carry no state here: settings are `SET LOCAL`, advisory locks are those of a transaction, and
    nobody listens on a pooled connection. So there is nothing to reset.
    """

    def get_reset_query(self) -> str:
        return ""

    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the driver's signature
        **options: Any,  # noqa: ANN401 - passed on as they are
    ) -> str:
        """As the driver's, but it ends in time, and with the connection.

        The driver waits for room to write without looking at either: over a link that takes nothing more it
        would wait for ever.
        """
        driver: Any = super()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout or self._config.command_timeout) as limit:

            def give_up(_connection: object) -> None:
                limit.reschedule(loop.time())

            driver.add_termination_listener(give_up)
            try:
                return str(await driver.copy_records_to_table(table_name, timeout=timeout, **options))
            finally:
                driver.remove_termination_listener(give_up)


class _Pool(Protocol):
    """What is used of the driver's pool, whose functions carry no annotations."""

    def acquire(self, *, timeout: float) -> AbstractAsyncContextManager[OwnedConnection]: ...
    async def expire_connections(self) -> None: ...
    async def close(self) -> None: ...
    def terminate(self) -> None: ...


class Database:
    """A pool of connections to one database. Made by `open_database`."""

    def __init__(self, pool: _Pool, url: str, acquire_timeout: timedelta) -> None:
        self._pool = pool
        self._acquire_seconds = acquire_timeout.total_seconds()
        self.url = url

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Raises:
            UnavailableError: the database is away, no connection became free in time, or a deadlock or a
                serialization failure rolled it back. The whole block may be tried again.
        """
        with translated():
            async with (
                self._pool.acquire(timeout=self._acquire_seconds) as connection,
                self._giving_up(connection),
                connection.transaction(),
                self._giving_up(connection),  # before a rollback is tried, which would hang as well
            ):
                yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection outside any transaction, for reads: each statement sees what is committed by then.

        Raises:
            UnavailableError: the database is away, or no connection became free in time.
        """
        with translated():
            async with (
                self._pool.acquire(timeout=self._acquire_seconds) as connection,
                self._giving_up(connection),
            ):
                yield connection

    @asynccontextmanager
    async def _giving_up(self, connection: OwnedConnection) -> AsyncIterator[None]:
        """Do away with a connection that is of no use any more, so that nothing more is asked of it.

        One that does not answer in time may have been forgotten by the network in between, without a word,
        and the idle ones with it. The driver would wait for the statement's end once more, and each of the
        others would cost its user the same: so they are replaced. One of which the driver has lost track
        cannot even be reset.
        """
        try:
            yield
        except TimeoutError:
            connection.terminate()
            await self._pool.expire_connections()
            raise
        except InternalClientError:
            connection.terminate()
            raise

    async def ping(self) -> None:
        """Ask the server for a sign of life.

        Raises:
            UnavailableError: there is none.
        """
        async with self.connection() as connection:
            await connection.execute("SELECT 1")

    async def close(self) -> None:
        """Wait for what is running, for five seconds at most, then close every connection."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()


async def open_database(
    url: str,
    *,
    application_name: str,
    min_size: int = 1,
    max_size: int = 10,
    acquire_timeout: timedelta = timedelta(seconds=5),
    statement_timeout: timedelta = timedelta(seconds=30),
    settings: Mapping[str, str] | None = None,
) -> Database:
    """Open a pool. It heals itself: a connection that the server dropped is replaced at its next use.

    Args:
        url: `postgresql://user@host:port/database`, or `...?host=/socket/folder`.
        application_name: how its connections are named in `pg_stat_activity`.
        min_size: connections opened now and kept.
        max_size: connections opened at most.
        acquire_timeout: how long a caller waits for a free connection.
        statement_timeout: how long one statement may take.
        settings: further server settings for each session.

    Raises:
        UnavailableError: nothing answers at the address.
    """
    with translated():
        pool: _Pool = await _DRIVER.create_pool(
            url,
            min_size=min_size,
            max_size=max_size,
            timeout=CONNECT_TIMEOUT.total_seconds(),
            command_timeout=statement_timeout.total_seconds(),
            max_inactive_connection_lifetime=300,
            connection_class=_PooledConnection,
            server_settings={
                "application_name": application_name,
                "idle_in_transaction_session_timeout": _IDLE_IN_TRANSACTION,
                **KEEPALIVE,
                **(settings or {}),
            },
        )
    return Database(pool, url, acquire_timeout)
