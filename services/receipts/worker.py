"""The issuer, a member of the group that receipts `usage.rated`; and what brings old receipts to the log."""

import asyncio
import contextlib
import logging

from services.receipts.issue import GROUP, Issuer
from services.receipts.log import BEFORE_ALL, Adopted, ReceiptLog
from shared.contracts.topics import USAGE_RATED
from shared.errors import UnavailableError
from shared.event_log.consumer import Pace, run_consumer
from shared.event_log.port import EventLog, Positions
from shared.runtime.service import Worker

_RETRY_S = 5.0
_log = logging.getLogger(__name__)


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


def build_adopter(log: ReceiptLog) -> Worker:
    """The loop that appends to the log what was receipted before there was one; it ends when that is done."""

    async def run(stop: asyncio.Event) -> None:
        adopted: Adopted | None = BEFORE_ALL
        while adopted is not None and not stop.is_set():
            try:
                adopted = await log.adopt(adopted)
            except UnavailableError as error:
                _log.warning("older receipts are not in the log yet: %s", error.detail)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _RETRY_S)
        await stop.wait()

    return Worker("adopter", run)
