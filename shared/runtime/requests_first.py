"""In a process that answers requests and consumes topics, requests come first.

What is consumed is durable in the event log and can wait a moment; a caller cannot. So consumers rest between
slices while requests are being answered, in proportion to what they did. The more there is to do, the larger
their slices become, and the less often the fixed costs of a slice are paid. They never rest when nobody asks
for anything, nor when a read waits for what they have not applied yet.
"""

import asyncio
import contextlib

from litestar.types import ASGIApp, Receive, Scope, Send

REST_PER_RECORD_S = 0.0004
LONGEST_REST_S = 0.4


class RequestsFirst:
    """Counts the requests in flight, and is the `Pace` of the consumers beside them."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._hurried = asyncio.Event()

    def count(self, app: ASGIApp) -> ASGIApp:
        """Wrap the application whose requests come first."""

        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            self._in_flight += 1
            try:
                await app(scope, receive, send)
            finally:
                self._in_flight -= 1

        return call

    def hurry(self) -> None:
        """Wake whoever rests: somebody waits for the results."""
        self._hurried.set()

    async def rest(self, records: int) -> None:
        """See `Pace.rest`."""
        if self._in_flight == 0:
            return
        self._hurried.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(records * REST_PER_RECORD_S, LONGEST_REST_S)):
                await self._hurried.wait()
