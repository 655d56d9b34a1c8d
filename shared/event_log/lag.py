"""How far a group is behind, measured beside the reading: every few seconds, and never by it."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Final

from shared.errors import LLMRingError
from shared.event_log.port import EventLog, Positions
from shared.telemetry.metrics import CONSUMER_LAG

LAG_EVERY_S: Final = 5.0

_log = logging.getLogger(__name__)


class Lag:
    """The lag of a group on each partition of a topic, whichever member reads it.

    While one of the two sides cannot be read, what was last known of it counts: without positions nothing is
    applied, and the lag grows as the topic does.

    Args:
        log: knows where the topic ends.
        group: whose lag.
        topic: on which topic.
        positions: where the group stands.
    """

    def __init__(self, log: EventLog, group: str, topic: str, positions: Positions) -> None:
        self._log = log
        self._group = group
        self._topic = topic
        self._positions = positions
        self._ends: Mapping[int, int] = {}
        self._applied: Mapping[int, int] = {}

    async def run(self) -> None:
        """Measure again and again, until cancelled."""
        while True:
            await self.measure()
            await asyncio.sleep(LAG_EVERY_S)

    async def measure(self) -> None:
        """Measure once. A failure is of no consequence."""
        try:
            with contextlib.suppress(LLMRingError):
                self._ends = await self._log.ends(self._topic)
            with contextlib.suppress(LLMRingError):
                self._applied = await self._positions.load(self._group, self._topic, self._ends.keys())
        except Exception:
            _log.warning("the lag of %s could not be measured", self._group, exc_info=True)
        for partition, end in self._ends.items():
            behind = max(0, end - self._applied.get(partition, 0))
            CONSUMER_LAG.labels(self._group, self._topic, str(partition)).set(behind)
