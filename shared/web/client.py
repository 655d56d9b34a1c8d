"""Calls from one service to another, behind one interface: in this process, or over HTTP (`http_upstream`).

A problem document that comes back is raised as the same typed error that the other side raised.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, NamedTuple, Protocol, cast

import msgspec
from litestar.types import ASGIApp, HTTPRequestEvent, HTTPScope, Message, Receive, Scope, Send

from shared import errors
from shared.errors import Fault, Kind, LLMRingError, UnavailableError
from shared.telemetry.current import carried_headers
from shared.web.problems import TYPE_PREFIX, Problem

HeaderList = Sequence[tuple[bytes, bytes]]

LONGEST_PATIENCE: Final = timedelta(minutes=1)
"""No caller waits longer for a silent service than this; operators' work may take so long."""

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers that belong to one connection and are never forwarded (RFC 9110, 7.6.1)."""

_ERRORS = {
    cls.kind: cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, LLMRingError)
}


class Answer(NamedTuple):
    """A whole answer of another service."""

    status: int
    headers: HeaderList
    body: bytes


class Upstream(Protocol):
    """Another service, wherever it runs."""

    async def forward(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        patience: timedelta | None = None,
        keyed_path: str | None = None,
    ) -> None:
        """Pass one HTTP request on and stream its answer back.

        Args:
            patience: the longest silence of the other side, `LONGEST_PATIENCE` at most; None is the default.
            keyed_path: where a POST with an `Idempotency-Key` may be sent twice, since it counts once.

        Raises:
            UnavailableError: it could not be reached, or broke off in its answer.
        """
        ...

    async def call(self, method: str, path: str, *, headers: HeaderList = (), body: bytes = b"") -> Answer:
        """Ask for something. `path` may carry a query. Trace and request id of the request in hand go along.

        Raises:
            LLMRingError: the typed error that the other side's problem document names.
            UnavailableError: it could not be reached.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class AsgiUpstream:
    """A service in this process: no socket, the same calls."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def forward(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        patience: timedelta | None = None,  # noqa: ARG002 - there is no network that may fall silent
        keyed_path: str | None = None,  # noqa: ARG002 - or lose a request
    ) -> None:
        """Call the application with the request as it is."""
        await self._app(scope, receive, send)

    async def call(self, method: str, path: str, *, headers: HeaderList = (), body: bytes = b"") -> Answer:
        """Call the application with a request made for the purpose."""
        path, _, query = path.partition("?")
        scope = cast(
            "HTTPScope",
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.4"},
                "http_version": "1.1",
                "method": method,
                "scheme": "http",
                "path": path,
                "raw_path": path.encode(),
                "query_string": query.encode(),
                "root_path": "",
                "headers": [*headers, *carried_headers(), (b"content-length", b"%d" % len(body))],
                "client": ("127.0.0.1", 0),
                "server": ("127.0.0.1", 0),
                "state": {},
                "extensions": {},
            },
        )
        answer = _Collector(body)
        await self._app(scope, answer.receive, answer.send)
        return raise_problem(Answer(answer.status, answer.headers, b"".join(answer.chunks)))

    async def close(self) -> None:
        """Nothing is held."""


class _Collector:
    """Plays the server's part of one ASGI call."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._asked = False
        self.status = 500
        self.headers: HeaderList = ()
        self.chunks: list[bytes] = []

    async def receive(self) -> HTTPRequestEvent:
        if self._asked:
            await asyncio.Event().wait()  # the caller stays: a disconnect never comes
        self._asked = True
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(bytes(k), bytes(v)) for k, v in message["headers"]]
        elif message["type"] == "http.response.body":
            self.chunks.append(message.get("body", b""))


def raise_problem(answer: Answer) -> Answer:
    """Give the answer back, or raise the error that it describes."""
    if answer.status < 400:
        return answer
    try:
        problem = msgspec.json.decode(answer.body, type=Problem)
        kind = Kind(problem.type.removeprefix(TYPE_PREFIX))
    except (msgspec.MsgspecError, ValueError):
        raise UnavailableError(f"A service answered {answer.status} without saying why.") from None
    retry_after = next(
        (int(v) for k, v in answer.headers if k.lower() == b"retry-after" and v.isdigit()), None
    )
    raise _ERRORS.get(kind, LLMRingError)(
        problem.detail,
        faults=[Fault(e.field, e.message) for e in problem.errors],
        retry_after=None if retry_after is None else timedelta(seconds=retry_after),
    )
