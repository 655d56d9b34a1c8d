"""uvicorn's HTTP/1.1, with bounds on what has not become a request yet.

Without them a header that never ends is memory without end, and a body that never comes is a connection,
and a waiting handler, for ever.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
REQUEST_S = 60.0

_BODY = (
    b'{"type":"https://llmring.ai/problems/too-large","title":"The header is too large","status":431,'
    b'"detail":"The header of the request is larger than 65536 bytes.","instance":""}'
)
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
    b"content-type: application/problem+json\r\ncontent-length: %d\r\n\r\n" % len(_BODY) + _BODY
)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection: a request arrives whole in `request_s`, its head in `MAX_HEAD_BYTES` (RFC 6585, 5)."""

    request_s = REQUEST_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own arguments
        super().__init__(*args, **kwargs)
        self._arriving = True
        self._in_head = True
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and look whether a request is still on its way."""
        super().data_received(data)
        if not self._arriving:
            self._disarm()
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()
        self._arm()

    def on_message_begin(self) -> None:
        """The parser has seen the first byte of a request."""
        self._arriving = self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The parser has seen the whole head."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The parser has seen the whole request."""
        self._arriving = False
        super().on_message_complete()

    def shutdown(self) -> None:
        """End a connection whose request has not arrived whole; what has will be answered."""
        if self._arriving:
            self.transport.close()
        else:
            super().shutdown()

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.request_s, self.transport.close)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
