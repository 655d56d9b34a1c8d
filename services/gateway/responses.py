"""What every answer carries, whoever made it: request id, security headers, limits; and what none may."""

from collections.abc import Awaitable, Iterable
from typing import Any, Final

from litestar.types import Message, Send

from services.gateway.requests import Header
from shared.telemetry.requests import UNMATCHED

API_POLICY: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
NO_STORE: Final = (b"cache-control", b"no-store")

_SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)

STRICT_TRANSPORT: Final = (b"strict-transport-security", b"max-age=31536000")
"""Over HTTPS alone (RFC 6797, 7.2): the browser asks this host by HTTPS only, for a year."""

_LIMIT: Final = frozenset(
    (
        b"x-ratelimit-limit",
        b"x-ratelimit-remaining",
        b"x-ratelimit-reset",
        b"ratelimit",
        b"ratelimit-policy",
    )
)

_OURS: Final = 0
_CACHE: Final = 1
_POLICY: Final = 2
_PUBLIC: Final = 3

_KIND: Final[dict[bytes, int]] = {
    b"cache-control": _CACHE,
    b"content-security-policy": _POLICY,
    b"x-llmring-complete": _PUBLIC,
} | dict.fromkeys(
    (
        *_LIMIT,
        # Set here on every answer: each must stand there exactly once.
        b"x-request-id",
        b"x-content-type-options",
        b"referrer-policy",
        b"x-frame-options",
        b"strict-transport-security",
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-expose-headers",
        # Of one connection (RFC 9110, 7.6.1), or set by the server that the client sees.
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"date",
        b"server",
        b"x-powered-by",
    ),
    _OURS,
)


class Reply:
    """The way back to one client: completes the head of the answer, and leaves out the body of one to HEAD.

    Attributes:
        added: headers to set; the request id is the first of them.
        started: whether the head of an answer is out, so that no other can be given any more.
        no_store: whether nobody may keep the answer, unless the service says otherwise.
        status: of the answer whose head is out; 0 until then.
        route: the template of the path, for what is measured.
        foreign_status: of an error that some server or proxy on the way wrote in its own form. It is held
            back: clients are promised problem documents.
    """

    __slots__ = (
        "_send",
        "_without_body",
        "added",
        "foreign_status",
        "no_store",
        "route",
        "started",
        "status",
    )

    def __init__(self, send: Send, request_id: bytes, *, without_body: bool) -> None:
        self._send = send
        self._without_body = without_body
        self.added: list[Header] = [(b"x-request-id", request_id), *_SECURITY]
        self.started = False
        self.status = 0
        self.route = UNMATCHED
        self.no_store = False
        self.foreign_status = 0

    def send(self, message: Message) -> Awaitable[None]:
        """Pass one ASGI message on. Not a coroutine itself: it adds no step to the way of each message."""
        if message["type"] == "http.response.start":
            if message["status"] >= 400:
                # A shared cache may keep a 404 that does not say otherwise (RFC 9110, 15.1).
                self.no_store = True
                if message["status"] >= 500 and not _is_ours(message["headers"]):
                    self.foreign_status = message["status"]
                if self.foreign_status:
                    return _nothing()
                if message["status"] == 429:
                    self._let_tell(message["headers"])
            self.started = True
            self.status = message["status"]
            start: Any = {**message, "headers": self._complete(message["headers"])}
            return self._send(start)
        if self.foreign_status and not self.started:
            return _nothing()
        if self._without_body and message["type"] == "http.response.body":
            body: Any = {**message, "body": b""}
            return self._send(body)
        return self._send(message)

    def _let_tell(self, headers: Iterable[Header]) -> None:
        """Where a service's own limit is reached, tell that one: what is left of ours would contradict it."""
        told = [header for header in headers if header[0] in _LIMIT]
        if told:
            self.added = [header for header in self.added if header[0] not in _LIMIT] + told

    def _complete(self, headers: Iterable[Header]) -> list[Header]:
        completed = []
        no_store, policy = self.no_store, True
        kind_of = _KIND.get
        for header in headers:
            kind = kind_of(header[0])
            if kind is None:
                if not header[0].startswith(b"x-llmring"):
                    completed.append(header)
            elif kind is not _OURS:
                completed.append(header)
                if kind is _CACHE:
                    no_store = False
                elif kind is _POLICY:
                    policy = False
        if policy:
            completed.append(API_POLICY)
        if no_store:
            completed.append(NO_STORE)
        completed += self.added
        return completed


def _is_ours(headers: Iterable[Header]) -> bool:
    return any(name == b"content-type" and b"json" in value for name, value in headers)


async def _nothing() -> None:
    """What becomes of a message that is held back."""
