"""One consistent view of a database, for a read that takes long and changes nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from shared.postgres.connect import open_connection
from shared.postgres.connection import Connection
from shared.postgres.failures import translated

SESSION: Final = {
    "default_transaction_isolation": "repeatable read",
    "default_transaction_read_only": "on",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "jit": "off",  # compiling takes longer than most of what is asked
}

_CLOSE_SECONDS: Final = 5.0


@asynccontextmanager
async def open_snapshot(url: str, *, application_name: str) -> AsyncIterator[Connection]:
    """A connection on which every statement sees what was committed when the first one began.

    It takes no lock that anybody waits for. While it is open, Postgres cannot clean up what is changed
    meanwhile, as with `pg_dump`.

    Args:
        url: the database.
        application_name: how the connection is named in `pg_stat_activity`.

    Raises:
        UnavailableError: the database is away, or the connection was lost.
    """
    connection = await open_connection(url, application_name=application_name, settings=SESSION)
    try:
        with translated():
            async with connection.transaction():
                yield connection
    finally:
        with translated():
            await connection.close(timeout=_CLOSE_SECONDS)
