"""Delete keys that ended long ago, and sessions that are over. The audit log keeps what was done to them."""

import asyncio
import logging
from datetime import timedelta
from typing import Final

from services.auth.store.api_keys import delete_ended_keys
from services.auth.store.sessions import delete_sessions_that_are_over
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.postgres import Database
from shared.stopping import is_set_within

KEYS_KEPT: Final = timedelta(days=90)
"""For so long a key that was revoked or has expired can still be listed."""

EVERY: Final = timedelta(hours=1)
_FIRST_AFTER: Final = timedelta(minutes=1)
_AT_ONCE: Final = 1_000

_log = logging.getLogger(__name__)


class Forgetting:
    """Deletes what has ended.

    Args:
        database: holds it.
        clock: tells what has ended.
        idle: after so long without use a session is over.
    """

    def __init__(self, database: Database, clock: Clock, idle: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._idle = idle

    async def run(self, stop: asyncio.Event) -> None:
        """Delete, again and again, until `stop` is set."""
        pause = _FIRST_AFTER
        while not await is_set_within(stop, pause.total_seconds()):
            pause = EVERY
            try:
                count = await self.forget()
            except UnavailableError as error:
                _log.warning("what has ended is not deleted at the moment: %s", error)
            else:
                if count:
                    _log.info("%d keys that ended more than %d days ago were deleted", count, KEYS_KEPT.days)

    async def forget(self) -> int:
        """Delete all that is to go, some rows in each transaction; tells how many keys that were.

        Raises:
            UnavailableError: the database is away; what was deleted until then stays so.
        """
        now = self._clock.now()
        async with self._database.connection() as connection:
            await delete_sessions_that_are_over(connection, at=now, used_before=now - self._idle)
        total, count = 0, _AT_ONCE
        while count == _AT_ONCE:
            async with self._database.connection() as connection:
                count = await delete_ended_keys(connection, before=now - KEYS_KEPT, limit=_AT_ONCE)
            total += count
        return total
