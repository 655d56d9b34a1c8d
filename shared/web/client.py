"""Calls from one service to another: in process or over HTTP, behind one interface.

A problem document that comes back is raised as the same typed error that the other side raised.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Final, NamedTuple, Protocol, cast

import aiohttp
import msgspec
from litestar.types import ASGIApp, HTTPRequestEvent, HTTPScope, Message, Receive, Scope, Send
from yarl import URL

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
        self, scope: Scope, receive: Receive, send: Send, *, patience: timedelta | None = None
    ) -> None:
        """Pass one HTTP request on and stream its answer back.

        Args:
            patience: the longest silence of the other side, `LONGEST_PATIENCE` at most; None is the default.

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


class HttpUpstream:
    """A service in another process, reached by pooled HTTP/1.1 connections.

    Args:
        base_url: such as `http://ingest:8080`, without a path.
        timeout: the longest silence of the other side by default; a long export may take as long as it flows.
        pool_size: the most connections at a time.
        uses: how many requests a connection carries, on average. Behind the address may be several instances,
            and those that came later are met by new connections alone.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: timedelta = timedelta(seconds=12),
        pool_size: int = 256,
        uses: int = 1000,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout = _limit(timeout)
        self._pool_size = pool_size
        self._uses = uses
        self._session: aiohttp.ClientSession | None = None
        self._left: set[asyncio.Task[None]] = set()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._pool_size, keepalive_timeout=30),
                timeout=self._timeout,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        return self._session

    def _leave(self, session: aiohttp.ClientSession) -> None:
        """Ask nothing more over connections of which one was silent for too long.

        The network may have forgotten them all, without a word: then each would cost its user as much. Those
        in use have the time that they would have had.
        """
        if session is self._session:
            self._session = None
            task = asyncio.create_task(_close_later(session))
            self._left.add(task)
            task.add_done_callback(self._left.discard)

    async def forward(
        self, scope: Scope, receive: Receive, send: Send, *, patience: timedelta | None = None
    ) -> None:
        """Stream the request there and the answer back, less the hop-by-hop headers."""
        http = cast("HTTPScope", scope)
        target = _target(http)
        headers = [
            (k.decode("latin-1"), v.decode("latin-1")) for k, v in http["headers"] if k not in HOP_BY_HOP
        ]
        if random.randrange(self._uses) == 0:  # noqa: S311 - no secret
            headers.append(("Connection", "close"))
        session = self._open()
        try:
            async with session.request(
                http["method"],
                URL(self._base_url + target, encoded=True),
                headers=headers,
                data=_chunks(receive) if _has_body(http) else None,
                allow_redirects=False,
                timeout=self._timeout if patience is None else _limit(patience),
            ) as response:
                kept = [(k.lower(), v) for k, v in response.raw_headers if k.lower() not in HOP_BY_HOP]
                await send({"type": "http.response.start", "status": response.status, "headers": kept})
                async for chunk in response.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error, aiohttp.SocketTimeoutError):
                self._leave(session)
            raise UnavailableError("A service behind the gateway is away.") from error

    async def call(self, method: str, path: str, *, headers: HeaderList = (), body: bytes = b"") -> Answer:
        """Send a request and wait for its whole answer."""
        session = self._open()
        try:
            async with session.request(
                method,
                URL(self._base_url + path, encoded=True),
                headers=[
                    (k.decode("latin-1"), v.decode("latin-1")) for k, v in [*headers, *carried_headers()]
                ],
                data=body or None,
                allow_redirects=False,
            ) as response:
                answer = Answer(response.status, response.raw_headers, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error, aiohttp.SocketTimeoutError):
                self._leave(session)
            raise UnavailableError("A service that this one depends on is away.") from error
        return raise_problem(answer)

    async def close(self) -> None:
        """Close the pooled connections."""
        for task in self._left:
            task.cancel()
        await asyncio.gather(*self._left, return_exceptions=True)
        if self._session is not None:
            await self._session.close()


def _limit(patience: timedelta) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=2, sock_read=patience.total_seconds())


async def _close_later(session: aiohttp.ClientSession) -> None:
    try:
        await asyncio.sleep(LONGEST_PATIENCE.total_seconds())
    finally:
        await session.close()


def _target(scope: HTTPScope) -> str:
    path = scope["raw_path"].decode("latin-1") if scope.get("raw_path") else scope["path"]
    query = scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _has_body(scope: HTTPScope) -> bool:
    return any(
        (key == b"content-length" and value != b"0") or key == b"transfer-encoding"
        for key, value in scope["headers"]
    )


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionResetError("the client left")
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


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
