"""Refilling an empty usage schema from `usage.logged`, by the very code that filled it the first time."""

import asyncio
from collections.abc import Callable
from typing import Final

from services.ingest.record import RATER, Recorder
from services.ingest.store.begin_budgets import discard_all_counting
from services.ingest.store.budgets import begin_all_months
from services.ingest.store.contents import list_tables_with_rows
from shared.contracts.topics import USAGE_LOGGED
from shared.errors import UnavailableError
from shared.event_log.port import EventLog, FencedError, Slice
from shared.event_log.positions import PostgresPositions
from shared.postgres import Database

_PATIENCE_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 1.0

OnProgress = Callable[[int, int], None]


class RefusedError(Exception):
    """A refill would not give what there was; the text says why. Nothing was done."""


class OvertakenError(Exception):
    """A rater is at work on the same records, and may have begun in the middle. Start over without it."""


async def refill_from_topic(
    *,
    database: Database,
    event_log: EventLog,
    positions: PostgresPositions,
    recorder: Recorder,
    on_progress: OnProgress,
    accept_gaps: bool,
) -> int:
    """Record everything that the topic holds, from its first record to its present end.

    `usage.rated` is appended to once more for each record; the issuer passes over those that have their
    receipt. Raters that start afterwards go on at the end. If it is broken off, they go on from there too.

    Args:
        database: of the schema `usage`, whose tables must be empty.
        event_log: where the topic is.
        positions: of the raters.
        recorder: stores slices.
        on_progress: told how many records are done, and of how many.
        accept_gaps: go on although the topic has let go of its first records.

    Returns:
        How many records of the topic were read.

    Raises:
        RefusedError: the tables are not empty, or the topic is not whole.
        OvertakenError: see there.
        UnavailableError: a dependency is away for longer.
    """
    async with database.connection() as connection:
        filled = await list_tables_with_rows(connection)
    if filled:
        raise RefusedError(f"these tables of the schema usage are not empty: {', '.join(filled)}")
    begins, ends = await event_log.begins(USAGE_LOGGED), await event_log.ends(USAGE_LOGGED)
    gone = {partition: begin for partition, begin in begins.items() if begin}
    if gone and not accept_gaps:
        told = ", ".join(f"{partition} begins at {begin}" for partition, begin in gone.items())
        raise RefusedError(f"{USAGE_LOGGED} does not have its first records any more: partition {told}")
    async with database.transaction() as connection:
        await discard_all_counting(connection)
        await begin_all_months(connection)
    total = sum(ends[partition] - begin for partition, begin in begins.items())
    done = 0
    async with event_log.read_range(USAGE_LOGGED, begins, ends) as slices:
        async for part in slices:
            await _record(recorder, positions, part)
            done += len(part.records)
            on_progress(done, total)
    return done


async def _record(recorder: Recorder, positions: PostgresPositions, part: Slice) -> None:
    """Record a slice, once; a short outage is waited for."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    failed = False
    while True:
        try:
            await recorder.record(part)
        except FencedError as error:
            # After a failure it may have been stored all the same: then the position is where it must be.
            reached = await positions.load(RATER, USAGE_LOGGED, [part.partition])
            if failed and reached.get(part.partition) == part.next_offset:
                return
            raise OvertakenError(f"a rater is at work on {USAGE_LOGGED}/{part.partition}") from error
        except UnavailableError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            failed = True
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return
