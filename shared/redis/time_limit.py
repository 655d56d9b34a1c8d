"""A time limit that a busy process does not run into by its own fault."""

import asyncio
import time
from types import TracebackType
from typing import Final

_STEPS: Final = 5


class TimeLimit:
    """Raises `TimeoutError` in its block once that has waited for `limit_s` seconds.

    A plain timer that is due while the process is held up (a long computation, a machine out of breath) goes
    off before the answer that has arrived meanwhile is looked at: the server is blamed for our own delay. So
    the time is counted in steps, and a step that ended late does not count; at most as many of those as there
    are steps, so that the limit holds on the busiest machine too, at twice its length.

    Args:
        limit_s: seconds, more than 0.
    """

    __slots__ = ("_late_left", "_left", "_loop", "_step_s", "_timeout", "_timer")

    def __init__(self, limit_s: float) -> None:
        self._step_s = limit_s / _STEPS
        self._left = _STEPS
        self._late_left = _STEPS
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._start_step()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(exc_type, exc_val, exc_tb)

    def _start_step(self) -> None:
        self._timer = self._loop.call_later(self._step_s, self._end_step, time.monotonic() + self._step_s)

    def _end_step(self, due_at: float) -> None:
        if time.monotonic() - due_at > self._step_s and self._late_left > 0:
            self._late_left -= 1
        else:
            self._left -= 1
        if self._left > 0:
            self._start_step()
        else:
            self._timeout.reschedule(self._loop.time())
