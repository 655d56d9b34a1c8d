"""Rebuilding the rollups from the rows: day by day, only where they differ, beside running raters."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

from services.ingest.store.recount import (
    CountFound,
    SumsFound,
    list_accounts,
    list_wrong_counts,
    list_wrong_sums,
    replace_day,
)
from shared.errors import UnavailableError
from shared.postgres import Database, open_snapshot

_ACCOUNTS_AT_ONCE: Final = 50
_FIRST_ACCOUNT: Final = UUID(int=0)
_ATTEMPTS: Final = 5
_RETRY_SECONDS: Final = 1.0

OnDifference = Callable[[SumsFound | CountFound], None]
OnProgress = Callable[[int, int], None]


class Rebuilt(NamedTuple):
    """What was found, and done.

    Attributes:
        accounts: that were looked at.
        differences: rows of the rollups that are not the sums of the rows.
        days: of single accounts that were added up anew.
    """

    accounts: int
    differences: int
    days: int


async def rebuild_rollups(
    database: Database, on_difference: OnDifference, on_progress: OnProgress, *, only_check: bool
) -> Rebuilt:
    """Compare the rollups with the rows, and add up anew whatever differs.

    The comparison holds nobody up. A day that differs is added up under a lock for which raters wait, and
    readers do not: for as long as it takes to read one account's rows of one day. Run twice, it finds
    nothing the second time.

    Args:
        database: of the schema `usage`.
        on_difference: told of each row that differs.
        on_progress: told how many accounts are done and how many days were added up.
        only_check: change nothing.

    Raises:
        UnavailableError: the database is away; what was put right until then stays so.
    """
    accounts_done = differences = days_done = 0
    accounts = [_FIRST_ACCOUNT]
    while accounts:
        days: dict[tuple[UUID, datetime], None] = {}
        async with open_snapshot(database.url, application_name="llmring-rebuild") as connection:
            for listing in (list_wrong_sums, list_wrong_counts):
                async for wrong in listing(connection, accounts):
                    differences += 1
                    on_difference(wrong)
                    days[wrong.account_id, _day_of(wrong.bucket_at)] = None
            following = await list_accounts(connection, accounts[-1], _ACCOUNTS_AT_ONCE)
        if not only_check:
            for account_id, day_at in days:
                await _replace(database, account_id, day_at)
                days_done += 1
        accounts_done += sum(account_id != _FIRST_ACCOUNT for account_id in accounts)
        on_progress(accounts_done, days_done)
        accounts = following
    return Rebuilt(accounts_done, differences, days_done)


def _day_of(bucket_at: datetime) -> datetime:
    return bucket_at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


async def _replace(database: Database, account_id: UUID, day_at: datetime) -> None:
    """A lock that is not to be had in time, or a database that restarts, is waited for a little."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            async with database.transaction() as connection:
                await replace_day(connection, account_id, day_at)
        except UnavailableError:
            if attempt == _ATTEMPTS:
                raise
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return
