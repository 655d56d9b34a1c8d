"""A database that may come later, for a process that does its main work without one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from shared.errors import UnavailableError
from shared.postgres.connection import Connection
from shared.postgres.database import Database


class DatabaseToCome(Database):
    """Unavailable until it was opened, which goes on in the background.

    Args:
        url: where it will be.
        opening: waits for it, for as long as that takes, and opens it. It does not fail.
    """

    def __init__(self, url: str, opening: Coroutine[Any, Any, Database]) -> None:
        self.url = url
        self._opening = asyncio.create_task(opening, name="open-database")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """As of `Database`."""
        async with self._opened().transaction() as connection:
            yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """As of `Database`."""
        async with self._opened().connection() as connection:
            yield connection

    def _opened(self) -> Database:
        if not self._opening.done():
            raise UnavailableError("The database is not available at the moment.")
        return self._opening.result()

    async def close(self) -> None:
        """Stop waiting for it, or close it."""
        self._opening.cancel()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await (await self._opening).close()
