"""The loops: issuing for `usage.rated`, bringing old receipts to the log, and showing it to witnesses."""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable

from services.receipts.issue import GROUP, Issuer
from services.receipts.log import BEFORE_ALL, Adopted, ReceiptLog
from services.receipts.policy import Policy
from services.receipts.submit import Submission
from shared.contracts.topics import USAGE_RATED
from shared.errors import UnavailableError
from shared.event_log.consumer import Pace, run_consumer
from shared.event_log.port import EventLog, Positions
from shared.runtime.service import Worker
from shared.stopping import is_set_within

_RETRY_S = 5.0
_LOOK_S = 1.0
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
                await is_set_within(stop, _RETRY_S)
        await stop.wait()

    return Worker("adopter", run)


def build_submitters(submission: Submission, policy: Policy) -> list[Worker]:
    """The loops that get the log's checkpoints cosigned: one that chooses, and one for each witness."""
    steps: dict[str, Callable[[], Awaitable[object]]] = {"checkpoints": submission.choose}
    for peer in policy.peers:
        if peer.url is not None:
            steps[f"witness {peer.key.name}"] = functools.partial(submission.ask, peer)
    return [Worker(name, functools.partial(_repeat, name, step)) for name, step in steps.items()]


async def _repeat(name: str, step: Callable[[], Awaitable[object]], stop: asyncio.Event) -> None:
    while not stop.is_set():
        pause_s = _LOOK_S
        try:
            await step()
        except UnavailableError as error:
            _log.warning("%s: %s", name, error.detail)
            pause_s = _RETRY_S
        await is_set_within(stop, pause_s)
