"""The rater: one member of the group that stores `usage.logged`."""

import asyncio

from services.ingest.record import RATER, Recorder
from shared.contracts.topics import USAGE_LOGGED
from shared.event_log.consumer import Pace, run_consumer
from shared.event_log.port import EventLog, Positions
from shared.runtime.service import Worker


def build_rater(
    recorder: Recorder, event_log: EventLog, positions: Positions, *, max_records: int, pace: Pace | None
) -> Worker:
    """The loop that feeds slices of `usage.logged` to the recorder."""

    async def run(stop: asyncio.Event) -> None:
        await run_consumer(
            event_log,
            RATER,
            USAGE_LOGGED,
            positions,
            recorder.record,
            stop=stop,
            max_records=max_records,
            pace=pace,
        )

    return Worker("rater", run)
