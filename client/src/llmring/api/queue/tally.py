"""What a queue has counted, and what it tells the program's log: a warning a minute at most."""

import logging
import time
from typing import Final

log = logging.getLogger("llmring.api")

_QUIET_S: Final = 60.0


class Tally:
    """Counts of one queue. Several threads add to it; each count has one thread that does."""

    def __init__(self) -> None:
        self.sent = 0
        self.refused = 0
        self.dropped = 0
        self._told_at: dict[str, float] = {}

    def count_dropped(self, count: int) -> None:
        """Records are lost."""
        self.dropped += count
        self.tell("the usage queue is full: %d records are lost so far", self.dropped)

    def count_refused(self, count: int, reason: str) -> None:
        """Records are set aside."""
        self.refused += count
        self.tell("%d usage records are refused for good so far, the last since %s", self.refused, reason)

    def tell(self, message: str, *values: object) -> None:
        """Warn of something, unless the same was warned of within the last minute."""
        now = time.monotonic()
        is_new = now - self._told_at.get(message, -_QUIET_S) >= _QUIET_S
        if is_new:
            self._told_at[message] = now
        log.log(logging.WARNING if is_new else logging.DEBUG, message, *values)
