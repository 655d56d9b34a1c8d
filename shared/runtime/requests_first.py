"""In a process that answers requests and consumes topics, requests come first.

What is consumed is durable in the event log and can wait a moment; a caller cannot. So after each slice a
consumer rests until this process has processor time to spare, for a time in proportion to the slice at most.
A burst of requests is taken in at full speed and worked off behind it; the larger slices of the backlog cost
less for each record. An overload that lasts is shared: after `BURST_S` the rests become short, so that the
backlog stops growing at the price of slower answers. While records are imported in bulk the rests are long:
it ends sooner, and what it leaves is worked off without it; but an import that waits for its client holds
nobody up, and after `BULK_S` imports are an overload as any other. Nobody rests while no request is in
flight, nor while a read waits for what has not been applied yet.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator

from litestar.types import ASGIApp, Receive, Scope, Send

REST_PER_RECORD_S = 0.001
LONGEST_REST_S = 0.5
LONGEST_REST_IN_OVERLOAD_S = 0.05
LONGEST_REST_IN_BULK_S = 30.0
BURST_S = 30.0
BULK_S = 120.0
"""Imports that follow one another within `BURST_S` count as one."""

LOOK_EVERY_S = 0.02
LOOK_EVERY_IN_BULK_S = 0.2
"""To ask for the processor time that was used costs a system call."""
BUSY_SHARE = 0.5
"""Of a processor: a process that uses less has time to spare for its consumers."""

BUSY_SHARE_IN_BULK = 0.1
"""The same in bulk. An import uses much less than a processor where the database or the machine is slow; one
whose client is slow, or that only stays open, uses nearly nothing."""


class RequestsFirst:
    """Counts the requests in flight, and is the `Pace` of the consumers beside them."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._bulk = 0
        self._bulk_since = self._bulk_until = -float("inf")
        self._hurried = asyncio.Event()
        self._busy_since: float | None = None

    def count(self, app: ASGIApp) -> ASGIApp:
        """Wrap the application whose requests come first."""

        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            self._in_flight += 1
            try:
                await app(scope, receive, send)
            finally:
                self._in_flight -= 1

        return call

    @contextlib.contextmanager
    def bulk(self) -> Iterator[None]:
        """While a request takes in records without end."""
        now = asyncio.get_running_loop().time
        if not self._bulk and now() - self._bulk_until > BURST_S:
            self._bulk_since = now()
        self._bulk += 1
        try:
            yield
        finally:
            self._bulk -= 1
            self._bulk_until = now()

    def _is_in_bulk(self, now: float) -> bool:
        return self._bulk > 0 and now - self._bulk_since < BULK_S

    def hurry(self) -> None:
        """Wake whoever rests: somebody waits for the results."""
        self._hurried.set()

    async def rest(self, records: int) -> None:
        """See `Pace.rest`."""
        if self._in_flight == 0:
            self._busy_since = None
            return
        clock = asyncio.get_running_loop().time
        now = clock()
        longest_s = min(records * REST_PER_RECORD_S, LONGEST_REST_S)
        if self._busy_since is not None and now - self._busy_since > BURST_S:
            longest_s = min(longest_s, LONGEST_REST_IN_OVERLOAD_S)
        if self._is_in_bulk(now):
            longest_s = LONGEST_REST_IN_BULK_S
        deadline = now + longest_s
        self._hurried.clear()
        while now < deadline:
            in_bulk = self._is_in_bulk(now)
            look_s = LOOK_EVERY_IN_BULK_S if in_bulk else LOOK_EVERY_S
            share = BUSY_SHARE_IN_BULK if in_bulk else BUSY_SHARE
            used_s, looked_at = time.process_time(), now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(look_s, deadline - now)):
                    await self._hurried.wait()
                    return
            now = clock()
            if time.process_time() - used_s < share * (now - looked_at):
                self._busy_since = None
                return
            self._busy_since = self._busy_since or now
