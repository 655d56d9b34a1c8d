"""Delete single records that are older than their account's retention. Sums and receipts stay for ever.

Auth knows for how long an account's records are kept, and is asked in each run: where it says nothing,
nothing is deleted. A retention that became shorter deletes nothing for a while. Records go in small batches,
each in a transaction of its own, with a pause as long as the batch took, so that nobody waits for it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from services.ingest.month import month_of
from services.ingest.store.reservations import delete_old_reservations
from services.ingest.store.retention import (
    count_old,
    delete_old,
    list_accounts_with_records,
    list_horizons,
    try_lock,
)
from shared.clock import Clock
from shared.contracts.accounts import MAX_ACCOUNTS_ASKED, RetentionRule
from shared.errors import LLMRingError
from shared.postgres import Database
from shared.stopping import is_set_within
from shared.telemetry.metrics import RECORDS_DELETED

BATCH_RECORDS: Final = 2_000
RESERVATIONS_KNOWN: Final = timedelta(days=92)
"""How long after the end of its month a reservation is known, at least."""
_LOCK_WAIT: Final = timedelta(milliseconds=500)
_BATCH_WITHIN: Final = timedelta(seconds=10)
_LEAST_PAUSE_S: Final = 0.02
_FIRST_ACCOUNT: Final = UUID(int=0)

_log = logging.getLogger(__name__)


class Rules(Protocol):
    """Knows for how long records of accounts are kept."""

    async def __call__(self, account_ids: Sequence[UUID]) -> list[RetentionRule]:
        """The rules of those accounts that exist.

        Raises:
            UnavailableError: nobody can tell.
        """
        ...


@dataclass
class Swept:
    """What a run did.

    Attributes:
        accounts: that have records, and were looked at.
        records: that were deleted; in a dry run, that would be.
        waiting: accounts whose retention became shorter a while ago: nothing of theirs is deleted yet.
        unknown: accounts that auth does not know: nothing of theirs is deleted.
        is_whole: it came to its end; else another one is at it, or it was told to stop.
    """

    accounts: int = 0
    records: int = 0
    waiting: int = 0
    unknown: int = 0
    is_whole: bool = True


class Retention:
    """Deletes what is too old.

    Args:
        database: with the schema `usage`.
        rules: tells for how long records are kept.
        clock: tells how old they are.
        grace: for how long nothing is deleted after a retention became shorter.
        batch: the most records that are deleted in one transaction.
    """

    def __init__(
        self, database: Database, rules: Rules, clock: Clock, grace: timedelta, batch: int = BATCH_RECORDS
    ) -> None:
        self._database = database
        self._rules = rules
        self._clock = clock
        self._grace = grace
        self._batch = batch

    async def sweep(
        self, *, dry_run: bool = False, is_told_to_stop: Callable[[], bool] = lambda: False
    ) -> Swept:
        """Go through all accounts once.

        Args:
            dry_run: delete nothing, and count what would be.
            is_told_to_stop: asked between batches.

        Raises:
            UnavailableError: the database or auth is away; what was deleted until then stays so.
        """
        swept = Swept()
        after = _FIRST_ACCOUNT
        while True:
            async with self._database.connection() as connection:
                account_ids = await list_accounts_with_records(connection, after, MAX_ACCOUNTS_ASKED)
            if not account_ids:
                return swept
            after = account_ids[-1]
            rules = {rule.account_id: rule for rule in await self._rules(account_ids)}
            for account_id in account_ids:
                swept.accounts += 1
                rule = rules.get(account_id)
                if rule is None:
                    swept.unknown += 1
                    continue
                before = self._horizon(rule, swept)
                if before is None:
                    continue
                if dry_run:
                    async with self._database.connection() as connection:
                        swept.records += await count_old(connection, account_id, before)
                elif not await self._delete(account_id, before, swept, is_told_to_stop):
                    swept.is_whole = False
                    return swept

    async def forget_reservations(self, *, is_told_to_stop: Callable[[], bool] = lambda: False) -> int:
        """Delete reservations whose month is long over, or whose budget was removed; how many.

        Raises:
            UnavailableError: the database is away; what was deleted until then stays so.
        """
        before = month_of(self._clock.now() - RESERVATIONS_KNOWN)
        total = 0
        while not is_told_to_stop():
            began = time.monotonic()
            async with self._database.transaction() as connection:
                if not await try_lock(connection, wait=_LOCK_WAIT, statement=_BATCH_WITHIN):
                    break
                count = await delete_old_reservations(connection, before, self._batch)
            total += count
            if count < self._batch:
                break
            await asyncio.sleep(max(_LEAST_PAUSE_S, time.monotonic() - began))
        return total

    def _horizon(self, rule: RetentionRule, swept: Swept) -> datetime | None:
        """Before which instant an account's records may go; None where they all stay."""
        if rule.days is None:
            return None
        now = self._clock.now()
        if rule.shortened_at is not None and now < rule.shortened_at + self._grace:
            swept.waiting += 1
            return None
        return now - timedelta(days=rule.days)

    async def _delete(
        self, account_id: UUID, before: datetime, swept: Swept, is_told_to_stop: Callable[[], bool]
    ) -> bool:
        """Delete an account's old records; False where somebody else does, or it is time to stop."""
        while True:
            began = time.monotonic()
            async with self._database.transaction() as connection:
                if not await try_lock(connection, wait=_LOCK_WAIT, statement=_BATCH_WITHIN):
                    return False
                count = await delete_old(connection, account_id, before, self._batch)
            swept.records += count
            RECORDS_DELETED.inc(count)
            if count < self._batch:
                return True
            if is_told_to_stop():
                return False
            await asyncio.sleep(max(_LEAST_PAUSE_S, time.monotonic() - began))


async def run_retention(
    retention: Retention, interval: timedelta, first_after: timedelta, stop: asyncio.Event
) -> None:
    """Sweep again and again, until the event is set."""
    pause = first_after
    while not await is_set_within(stop, pause.total_seconds()):
        pause = interval
        try:
            swept = await retention.sweep(is_told_to_stop=stop.is_set)
            await retention.forget_reservations(is_told_to_stop=stop.is_set)
        except LLMRingError as error:
            _log.warning("old records are not deleted at the moment: %s", error)
            continue
        if swept.records:
            _log.info("%d records older than their account's retention were deleted", swept.records)
        if swept.unknown:
            _log.warning("%d accounts have records and are not known to auth", swept.unknown)


async def find_horizon(database: Database, account_id: UUID) -> datetime | None:
    """Before which instant records of an account may have been deleted; None where none were.

    Raises:
        UnavailableError: the database is away.
    """
    async with database.connection() as connection:
        return (await list_horizons(connection, [account_id])).get(account_id)
