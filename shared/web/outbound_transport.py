"""Our bounded way out for libraries that ask by httpx."""

import httpx2

from shared.web.outbound import Outbound

_LEFT_OUT = ("host", "content-length", "accept-encoding", "connection")


class OutboundTransport(httpx2.AsyncBaseTransport):
    """Sends what such a library asks through an `Outbound`, with its limits. Redirects are not followed."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """One question and its whole answer.

        Raises:
            UnavailableError: there was none in time, or it was too long.
        """
        headers = {name: value for name, value in request.headers.items() if name not in _LEFT_OUT}
        body = await request.aread()
        answer = await self._outbound.ask(
            request.method, str(request.url), body=body or None, headers=headers
        )
        # The body is decoded already, so that a Content-Encoding must not be read again.
        kept = [(name, value) for name, value in answer.headers if name.lower() == b"content-type"]
        return httpx2.Response(answer.status, headers=kept, content=answer.body)
