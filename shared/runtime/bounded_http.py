"""uvicorn's HTTP/1.1, with bounds on what has not become a request yet and on answers that nobody takes.

Without them a header that never ends is memory without end; a body that never comes, or a client that never
reads, is a connection and a waiting handler for ever.
"""

import asyncio
from collections import deque
from email.utils import formatdate
from os import urandom
from typing import Any, Final, NoReturn

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from shared.runtime.connections import Connections
from shared.web.problems import TYPE_PREFIX, Problem

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 128
FIRST_BYTE_S: Final = 60.0
HEAD_S: Final = 15.0
BODY_S: Final = 60.0
SLOWEST_BYTES_PER_S: Final = 16 * 1024
"""A body that is as fast as this may go on for longer: an import has no end of its own."""
STALLED_S: Final = 60.0
STALLED_AT_THE_END_S: Final = 3.0
"""The same once the process is to end: others of its requests may need the rest of the drain."""


Fault = tuple[int, str, str, str]
"""Status, kind, title and detail of a refusal."""

_VERSIONS: Final = frozenset(("1.0", "1.1"))
_UPGRADES: Final = frozenset((b"upgrade", b"http2-settings"))
_NOT_HTTP: Final = (400, "malformed-request", "The request is malformed", "This is not HTTP/1.1.")
_NO_HOST: Final = (
    400,
    "malformed-request",
    "The request is malformed",
    "A request of HTTP/1.1 has exactly one header Host.",
)
_CODED: Final = (
    400,
    "malformed-request",
    "The request is malformed",
    "The only transfer coding that is understood is chunked.",
)
_LARGE_HEAD: Final = (
    431,
    "too-large",
    "The header is too large",
    f"The request's header is larger than {MAX_HEAD_BYTES} bytes, or has more than {MAX_HEADERS} fields.",
)
_TOO_MANY: Final = (
    503,
    "unavailable",
    "Temporarily unavailable",
    "There are too many connections: try again later.",
)


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection, bounded in size, in time and in how many others there are.

    The head of a request has `MAX_HEAD_BYTES` and `MAX_HEADERS` at most (RFC 6585, 5), and `head_s` from its
    first byte; its body has `body_s`, and longer while it is no slower than `SLOWEST_BYTES_PER_S`. Trailers
    are passed over (RFC 9110, 6.5.1), and have as many bytes. An answer of which nothing is taken for
    `stalled_s` is given up, and sooner while the process drains. An offer to upgrade is declined (RFC 9110,
    7.8). A client that sends no more, but has sent a whole request, is answered.
    """

    first_byte_s = FIRST_BYTE_S
    head_s = HEAD_S
    body_s = BODY_S
    stalled_s = STALLED_S
    stalled_at_the_end_s = STALLED_AT_THE_END_S

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - uvicorn's own arguments
        held: Connections | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(*args, **kwargs)
        self._held = held
        self._peer: str | None = None
        self._arriving = True
        self._in_head = True
        self._begun_s: float | None = None
        self._chunk_bytes = self._head_bytes = self._body_bytes = 0
        self._pieces_of_body = self._bytes_between = self._hosts = 0
        self._body_since = 0.0
        self._is_upgrade = self._is_coded = False
        self._fault: Fault = _NOT_HTTP
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._drains = False
        self._answered = 0
        self._earlier: deque[RequestResponseCycle] = deque()  # than the last one, where they are not answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first request."""
        super().connection_made(transport)
        if self._held is not None:
            peer = self.client[0] if self.client else ""
            if not self._held.take(peer):
                self._refuse(_TOO_MANY)
                return
            self._peer = peer
        self._arm(self.first_byte_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._disarm()
        if self._ending is not None:
            self._ending.cancel()
        self.resume_writing()
        if self._held is not None and self._peer is not None:
            self._held.give_back(self._peer)
            self._peer = None
        for cycle in self._earlier:  # uvicorn tells the last one alone
            cycle.disconnected = not cycle.response_complete
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and look whether a request is still on its way."""
        if self.transport.is_closing():
            return
        self._chunk_bytes = len(data)
        if self._in_head:
            self._head_bytes += self._chunk_bytes
        else:
            self._body_bytes += self._chunk_bytes
        pieces = self._pieces_of_body
        self._unset_keepalive_if_required()
        if not self._parse(data):
            return
        if not self._arriving:
            self._disarm()
        elif self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_LARGE_HEAD)
        elif self._begun_s is not None:
            self._arm(self._begun_s)
        elif not self._in_head:
            # What is no body is the framing of chunks, which is short, or trailers.
            self._bytes_between = self._bytes_between + len(data) if pieces == self._pieces_of_body else 0
            if self._bytes_between > MAX_HEAD_BYTES:
                self._refuse(_LARGE_HEAD)
        self._begun_s = None

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """The client has closed its side. Whether ours stays open: for answers to what arrived whole.

        Over TLS there are no halves here: asyncio closes both.
        """
        cycle = self.cycle
        if self._arriving or cycle is None or cycle.response_complete or self.scheme == "https":
            return False
        cycle.keep_alive = False  # of several requests at once it is the last one's
        return True

    def _parse(self, data: bytes) -> bool:
        """Whether the connection goes on."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._parse(self._without_upgrade() + data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")
            return False
        return True

    def _without_upgrade(self) -> bytes:
        """The head that was read, for a new parser: the old one takes what follows for another protocol."""
        self._is_upgrade = False
        line = (self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode())
        headers = [
            (name, _without_tokens(value, _UPGRADES) if name == b"connection" else value)
            for name, value in self.headers
            if name not in _UPGRADES
        ]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        return b"".join((*line, b"\r\n", *(b"%s: %s\r\n" % header for header in headers), b"\r\n"))

    def on_message_begin(self) -> None:
        """The parser has seen the first byte of a request."""
        self._arriving = self._in_head = True
        self._head_bytes = 0  # what came before it in the same chunk is not its own: the chunk is not counted
        self._begun_s = self.head_s
        self._hosts = 0
        self._is_coded = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser has seen a header, or a trailer: what that says comes too late to be believed."""
        if not self._in_head:
            return
        super().on_header(name, value)
        name = self.headers[-1][0]
        if name == b"host":
            self._hosts += 1
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            self._is_coded = True

    def on_headers_complete(self) -> None:
        """The parser has seen the whole head."""
        version = self.parser.get_http_version()
        if version not in _VERSIONS or self.parser.get_method() == b"CONNECT":
            self._stop(_NOT_HTTP)
        if self._hosts != 1 and (self._hosts or version != "1.0"):
            self._stop(_NO_HOST)
        if self._is_coded:
            self._stop(_CODED)
        if self.parser.should_upgrade():
            self._is_upgrade = True
            return
        self._in_head = False
        self._begun_s = self.body_s
        self._body_bytes, self._body_since = 0, self.loop.time()
        if len(self.headers) > MAX_HEADERS or (
            self._head_bytes + self._chunk_bytes > MAX_HEAD_BYTES and self._size_of_head() > MAX_HEAD_BYTES
        ):
            self._stop(_LARGE_HEAD)
        before = self.cycle
        super().on_headers_complete()
        if before is not None and not before.response_complete:
            while self._earlier and self._earlier[0].response_complete:
                self._earlier.popleft()
            self._earlier.append(before)

    def on_body(self, body: bytes) -> None:
        """The parser has seen a piece of the body."""
        self._pieces_of_body += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The parser has seen the whole request."""
        if self._is_upgrade:
            return
        self._arriving = False
        super().on_message_complete()

    def _stop(self, fault: Fault) -> NoReturn:
        """Stop the parser, so that `send_400_response` is called."""
        self._fault = fault
        raise ValueError(fault)

    def _refuse(self, fault: Fault) -> None:
        self._fault = fault
        self.send_400_response("")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - as uvicorn has it
        """Refuse what was sent, as a problem document, and end the connection.

        An earlier request that is still being answered loses its answer: nobody may take this one for it.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete or (cycle.more_body and not cycle.response_started):
            self.transport.write(_refusal(*self._fault, is_https=self.scheme == "https"))
        self.transport.close()

    def shutdown(self) -> None:
        """End a connection whose request has not arrived whole; what has will be answered."""
        if self._arriving:
            self.transport.close()
        elif not self.transport.is_closing():
            super().shutdown()
        self.stalled_s = min(self.stalled_s, self.stalled_at_the_end_s)
        if self._stalled is not None:
            self._give_up_later()
        self._drains = True
        self._look_later()

    def on_response_complete(self) -> None:
        """All of an answer is written, though not all of it may be sent."""
        super().on_response_complete()
        self._answered += 1
        if self._ending is None and self.transport.get_write_buffer_size():
            self._look_later()

    def _look_later(self) -> None:
        """See that the rest is taken: it may be less than what pauses writing."""
        if self._ending is not None:
            self._ending.cancel()
        left = self.transport.get_write_buffer_size()
        self._ending = self.loop.call_later(self.stalled_s, self._look_at_the_end, left, self._answered)

    def _look_at_the_end(self, before: int, answered: int) -> None:
        left = self.transport.get_write_buffer_size()
        # Else more may have been written meanwhile, and as much been taken.
        is_rest = self._drains or self.cycle is None or self.cycle.response_complete
        if before and is_rest and (before, answered) == (left, self._answered):
            self.transport.abort()
        elif left or self._drains:
            self._look_later()
        else:
            self._ending = None

    def pause_writing(self) -> None:
        """The client takes less than is sent: wait for it, but not for ever."""
        super().pause_writing()
        if self._stalled is None:
            self._give_up_later()

    def _give_up_later(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
        self._stalled = self.loop.call_later(self.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has taken it."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._end)

    def _end(self) -> None:
        if not self._in_head:
            left_s = (
                self._body_since + self.body_s + self._body_bytes / SLOWEST_BYTES_PER_S - self.loop.time()
            )
            if left_s > 0:
                self._arm(left_s)
                return
        self.transport.close()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _without_tokens(value: bytes, tokens: frozenset[bytes]) -> bytes:
    kept = [token for token in value.split(b",") if token.strip().lower() not in tokens]
    return b",".join(kept)


def _refusal(status: int, kind: str, title: str, detail: str, *, is_https: bool) -> bytes:
    request_id = urandom(12).hex()
    problem = Problem(
        type=TYPE_PREFIX + kind,
        title=title,
        status=status,
        detail=detail,
        instance="",
        request_id=request_id,
    )
    body = msgspec.json.encode(problem)
    retry = b"retry-after: 5\r\n" if status == 503 else b""
    strict = b"strict-transport-security: max-age=31536000\r\n" if is_https else b""
    head = (
        b"date: %s\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n"
        b"cache-control: no-store\r\nx-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\n"
        b"x-frame-options: DENY\r\n"
        b"content-security-policy: default-src 'none'; frame-ancestors 'none'\r\nx-request-id: %s\r\n"
    )
    date = formatdate(usegmt=True).encode()
    return (
        STATUS_LINE[status] + head % (date, len(body), request_id.encode()) + strict + retry + b"\r\n" + body
    )
