"""What this service can tell of its own state, for a check: what was accepted, stored and added up.

Nothing is changed and nobody is held up. Topics are read by offsets, tables in one snapshot.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.ingest.figures import figures_of
from services.ingest.poison import PoisonError, read_event
from services.ingest.record import RATER
from services.ingest.reprice import OnUnknownVersion, reprice
from services.ingest.store.audit import StoredFigures, list_figures, sum_requests
from services.ingest.store.recount import (
    CountFound,
    SumsFound,
    list_accounts,
    list_wrong_counts,
    list_wrong_sums,
)
from services.ingest.store.recount_budgets import BudgetFound, list_wrong_budgets
from services.ingest.store.retention import list_all_horizons
from shared.contracts.topics import USAGE_LOGGED
from shared.event_log.port import EventLog, StoredRecord
from shared.event_log.positions import list_positions
from shared.postgres import Connection, open_snapshot
from shared.pricebook.pricebook import Pricebook

_ACCOUNTS_AT_ONCE = 50
_FIRST_ACCOUNT = UUID(int=0)


class Expected(NamedTuple):
    """What the row of an accepted record must hold.

    Attributes:
        cost: in plain notation.
        figures: the digest of what else is counted.
    """

    cost: str | None
    figures: bytes


class Accepted(NamedTuple):
    """One record of `usage.logged`.

    Attributes:
        key: account id and log id, 16 bytes each.
        partition: where it is.
        offset: where it is.
        expected: by the registry version that it names.
        as_answered: by its own word, where that is another one: its caller was told so.
        is_late: it gives a record that had no cost the one that was found later.
        occurred_at: its own time.
    """

    key: bytes
    partition: int
    offset: int
    expected: Expected
    as_answered: Expected | None
    is_late: bool
    occurred_at: datetime


class Unreadable(NamedTuple):
    """A record of `usage.logged` that a rater has to set aside."""

    partition: int
    offset: int
    reason: str


async def read_accepted(
    event_log: EventLog,
    pricebook: Pricebook,
    starts: Mapping[int, int],
    ends: Mapping[int, int],
    on_unknown: OnUnknownVersion,
) -> AsyncIterator[list[Accepted | Unreadable]]:
    """What was accepted in some ranges, a slice at a time, priced as a rater would.

    Args:
        event_log: where the records are.
        pricebook: the registry versions.
        starts: see `EventLog.read_range`.
        ends: likewise.
        on_unknown: see `reprice`.

    Raises:
        UnavailableError: the event log or the registry is away.
    """
    async with event_log.read_range(USAGE_LOGGED, starts, ends) as slices:
        async for part in slices:
            yield [await _appraise(record, pricebook, on_unknown) for record in part.records]


async def _appraise(
    record: StoredRecord, pricebook: Pricebook, on_unknown: OnUnknownVersion
) -> Accepted | Unreadable:
    try:
        _, event = read_event(record)
        repriced = await reprice(event, pricebook, on_unknown)
    except PoisonError as poison:
        return Unreadable(record.partition, record.offset, str(poison))
    return Accepted(
        event.account_id.bytes + event.log_id.bytes,
        record.partition,
        record.offset,
        Expected(repriced.cost, figures_of(repriced)),
        None if repriced is event else Expected(event.cost, figures_of(event)),
        event.repriced_at is not None,
        event.occurred_at,
    )


class UsageSnapshot:
    """The usage tables at one instant; made by `open_usage_snapshot`.

    Attributes:
        positions: of the raters: every record before has its row, or was set aside, or was deleted.
        deleted_before: by account, before which instant records may have been deleted by retention.
    """

    def __init__(
        self, connection: Connection, positions: Mapping[int, int], deleted_before: Mapping[UUID, datetime]
    ) -> None:
        self._connection = connection
        self.positions = positions
        self.deleted_before = deleted_before

    def list_stored(self) -> AsyncIterator[list[StoredFigures]]:
        """Every row, in the order of the keys, some at a time."""
        return list_figures(self._connection)

    async def list_wrong_rollups(self) -> AsyncIterator[SumsFound | CountFound]:
        """Every row of the rollups that is not what the rows of the records add up to."""
        connection = self._connection
        accounts = [_FIRST_ACCOUNT]
        while accounts:
            async for sums in list_wrong_sums(connection, accounts):
                yield sums
            async for count in list_wrong_counts(connection, accounts):
                yield count
            accounts = await list_accounts(connection, accounts[-1], _ACCOUNTS_AT_ONCE)

    def list_wrong_budgets(self) -> AsyncIterator[BudgetFound]:
        """Every month of a budget that has not counted what its records and reservations add up to."""
        return list_wrong_budgets(self._connection)

    async def count_rolled_up(self) -> int:
        """How many records the rollups have counted."""
        return await sum_requests(self._connection)


@asynccontextmanager
async def open_usage_snapshot(url: str) -> AsyncIterator[UsageSnapshot]:
    """The usage tables as they are now, for as long as the block runs; use it from one task at a time.

    Raises:
        UnavailableError: the database is away.
    """
    async with open_snapshot(url, application_name="llmring-audit-usage") as connection:
        positions = await list_positions(connection, "usage", RATER, USAGE_LOGGED)
        yield UsageSnapshot(connection, positions, await list_all_horizons(connection))
