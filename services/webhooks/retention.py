"""Delete old deliveries, in small batches."""

import asyncio
import logging
import random
from datetime import timedelta
from typing import Final

from services.webhooks.store.messages import delete_old
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.postgres import Database
from shared.stopping import is_set_within

BATCH: Final = 500
EVERY_S: Final = 3_600.0
_FIRST_AFTER_S: Final = 60.0
_PAUSE_S: Final = 0.05

_log = logging.getLogger(__name__)


class DeliveryRetention:
    """Deletes deliveries that are over and older than a number of days, with their attempts and messages.

    Several may work at once: rows that another one holds are passed over.
    """

    def __init__(self, database: Database, clock: Clock, keep: timedelta, batch: int = BATCH) -> None:
        self._database = database
        self._clock = clock
        self._keep = keep
        self._batch = batch

    async def sweep(self, stop: asyncio.Event | None = None) -> int:
        """Delete all that is too old, and say how many rows that were.

        Raises:
            UnavailableError: the database is away; what was deleted until then stays so.
        """
        before = self._clock.now() - self._keep
        deleted = 0
        while stop is None or not stop.is_set():
            async with self._database.transaction() as connection:
                count = await delete_old(connection, before, self._batch)
            deleted += count
            if not count:
                break
            await asyncio.sleep(_PAUSE_S)
        return deleted

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep again and again, until told to stop."""
        pause_s = _FIRST_AFTER_S
        while not await is_set_within(stop, pause_s):
            # Processes that were started together should not all work at the same moment.
            pause_s = EVERY_S * random.uniform(0.9, 1.1)  # noqa: S311 - jitter, not a secret
            try:
                deleted = await self.sweep(stop)
            except UnavailableError as error:
                _log.warning("old deliveries of webhooks are not deleted at the moment: %s", error.detail)
            else:
                if deleted:
                    _log.info("%d rows of old deliveries of webhooks were deleted", deleted)
