"""The issuer: one member of the group that receipts `usage.rated`."""

import asyncio

from services.receipts.issue import GROUP, Issuer
from shared.contracts.topics import USAGE_RATED
from shared.event_log.consumer import Pace, run_consumer
from shared.event_log.port import EventLog, Positions
from shared.runtime.service import Worker


def build_issuer(
    issuer: Issuer, event_log: EventLog, positions: Positions, *, max_records: int, pace: Pace | None
) -> Worker:
    """The loop that feeds slices of `usage.rated` to the issuer."""

    async def run(stop: asyncio.Event) -> None:
        await run_consumer(
            event_log,
            GROUP,
            USAGE_RATED,
            positions,
            issuer.issue_receipts,
            stop=stop,
            max_records=max_records,
            pace=pace,
        )

    return Worker("issuer", run)
