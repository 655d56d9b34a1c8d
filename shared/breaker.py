"""A circuit breaker: a server that does not answer is left alone until a probe finds it again."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

PROBE_EVERY_S: Final = 0.5

_log = logging.getLogger(__name__)


class Breaker:
    """Knows whether a server is worth asking.

    Args:
        name: the server's, for the log.
        probe: asks it once, whether it is away or not; any `Exception` means that it still is.
        failures: after so many in a row the server is taken for away.
        lasting_s: but not before they have gone on for so long. Where several instances stand behind one
            address, one of them that fails and fails is not all of them: the others answer in between.
    """

    def __init__(
        self, name: str, probe: Callable[[], Awaitable[None]], *, failures: int, lasting_s: float = 0.0
    ) -> None:
        self._name = name
        self._probe = probe
        self._limit = failures
        self._lasting_s = lasting_s
        self._failures = 0
        self._failing_since = 0.0
        self._probing: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def is_away(self) -> bool:
        """Nobody but the probe asks it at present."""
        return self._probing is not None

    def answered(self) -> None:
        """Note that the server did what it was asked."""
        if self._probing is None:
            self._failures = 0

    def failed(self, error: Exception) -> None:
        """Note that the server did not, and why."""
        now = time.monotonic()
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        if self._failures >= self._limit and now - self._failing_since >= self._lasting_s:
            self.give_up(error)

    def give_up(self, error: Exception) -> None:
        """Take the server for away, from now until a probe succeeds."""
        if self._probing is None and not self._stopped:
            _log.warning("%s is away: %s", self._name, str(error) or type(error).__name__)
            self._probing = asyncio.create_task(self._probe_until_back())

    async def stop(self) -> None:
        """End the probing, now and for good."""
        self._stopped = True
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait([self._probing])

    async def _probe_until_back(self) -> None:
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            if await self._is_back():
                break
        # One more failure is enough to send everybody away again: it has yet to show that it can do more than
        # answer a probe.
        self._failures = self._limit - 1
        self._failing_since = time.monotonic()
        self._probing = None
        _log.info("%s is back", self._name)

    async def _is_back(self) -> bool:
        try:
            await self._probe()
        except Exception:  # a probe that fails in any way at all has not found the server
            return False
        return True
