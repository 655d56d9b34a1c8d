"""Fill an empty registry from the history that the package carries."""

import logging

from services.registry.filing import file_missing
from services.registry.history.replay import replay_history
from services.registry.publish import new_version
from services.registry.store import insert_versions, list_versions, lock_publishing
from shared.postgres import Database

_log = logging.getLogger(__name__)


async def seed_history(database: Database) -> int:
    """Store every version of the history, unless there is any version already; say how many were new.

    One transaction under the publishing lock: replicas that start at once seed once, and a crash leaves
    either all or nothing.

    Raises:
        UnavailableError: the database is away.
    """
    async with database.transaction() as connection:
        await lock_publishing(connection)
        if await list_versions(connection):
            return 0
        moments = replay_history()
        count = await insert_versions(
            connection, [new_version(moment.key, moment.snapshot, None) for moment in moments]
        )
        await file_missing(connection)
    _log.info("filled the registry with %d versions of history", count)
    return count
