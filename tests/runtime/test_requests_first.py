"""Consumers rest while the process is busy with requests, and at no other time."""

import asyncio
import time
from typing import Any

from shared.runtime.requests_first import LONGEST_REST_S, RequestsFirst


async def timed(pace: RequestsFirst, records: int) -> float:
    """How long a rest after so many records takes."""
    started = time.monotonic()
    await pace.rest(records)
    return time.monotonic() - started


class OpenRequest:
    """A request that stays in flight."""

    def __init__(self, pace: RequestsFirst) -> None:
        self._end = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self._end.wait()

        self._task = asyncio.ensure_future(pace.count(app)({}, None, None))  # type: ignore[typeddict-item, arg-type]

    async def close(self) -> None:
        self._end.set()
        await self._task


async def keep_busy(stop: asyncio.Event) -> None:
    """Use the whole processor, in pieces of a millisecond."""
    while not stop.is_set():
        until = time.monotonic() + 0.001
        while time.monotonic() < until:
            pass
        await asyncio.sleep(0)


async def test_nobody_rests_without_a_request_in_flight() -> None:
    assert await timed(RequestsFirst(), 1000) < 0.01


async def test_nobody_rests_long_while_there_is_time_to_spare() -> None:
    pace = RequestsFirst()
    request = OpenRequest(pace)
    await asyncio.sleep(0)
    assert await timed(pace, 1000) < LONGEST_REST_S / 2
    await request.close()


async def test_a_busy_process_rests_in_proportion_and_a_waiting_read_ends_it() -> None:
    pace = RequestsFirst()
    request = OpenRequest(pace)
    stop = asyncio.Event()
    busy = asyncio.ensure_future(keep_busy(stop))
    await asyncio.sleep(0.01)
    assert await timed(pace, 1) < 0.1
    asyncio.get_running_loop().call_later(0.06, pace.hurry)
    assert await timed(pace, 1000) < LONGEST_REST_S / 2
    assert await timed(pace, 1000) >= LONGEST_REST_S / 4  # less only where others take the processor away
    stop.set()
    await busy
    await request.close()
    assert await timed(pace, 1000) < 0.01
