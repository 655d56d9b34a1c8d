"""A service in another process: pooled connections, one repeat where it is safe, and a circuit that opens."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import Final, cast

import aiohttp
from litestar.types import HTTPScope, Receive, Scope, Send
from yarl import URL

from shared.breaker import Breaker
from shared.errors import MalformedRequestError, UnavailableError
from shared.telemetry.current import carried_headers
from shared.telemetry.metrics import UPSTREAM_AWAY, UPSTREAM_FAILURES, UPSTREAM_REPEATS
from shared.web.asgi import ClientGoneError, find_header
from shared.web.client import HOP_BY_HOP, LONGEST_PATIENCE, Answer, HeaderList, raise_problem

FAILURES_IN_A_ROW: Final = 5
LASTING_S: Final = 1.0
"""After so many failures, and so long without one answer, a service is taken for away."""

HELD_BYTES: Final = 64 * 1024
"""So much of a body is read before a connection is taken: a client that trickles holds none, and what is held
whole can be sent again."""

_PROBE_PATH: Final = "/health/live"
_PROBE_S: Final = 2.0

_BROKEN: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)


class HttpUpstream:
    """A service in another process, reached by pooled HTTP/1.1 connections.

    A request that found nobody is sent once more, and so is one whose connection broke before an answer began
    if that can do nothing twice: behind the address may be several instances. One that was met by silence is
    not: that would double the wait.

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
        self._address = URL(self._base_url).authority
        self._timeout = _limit(timeout)
        self._pool_size = pool_size
        self._uses = uses
        self._session: aiohttp.ClientSession | None = None
        self._left: set[asyncio.Task[None]] = set()
        self._breaker = Breaker(self._base_url, self._probe, failures=FAILURES_IN_A_ROW, lasting_s=LASTING_S)
        UPSTREAM_AWAY.labels(self._address).set_function(lambda: float(self._breaker.is_away))

    async def forward(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        patience: timedelta | None = None,
        keyed_path: str | None = None,
    ) -> None:
        """Stream the request there and the answer back, less the hop-by-hop headers.

        Raises:
            MalformedRequestError: a header is not in UTF-8.
            UnavailableError: see `Upstream`.
        """
        http = cast("HTTPScope", scope)
        headers = _texts(header for header in http["headers"] if header[0] not in HOP_BY_HOP)
        if random.randrange(self._uses) == 0:  # noqa: S311 - no secret
            headers.append(("Connection", "close"))
        body = _Body(receive) if _has_body(http) else None
        if body is not None:
            await body.read_first()
        async with await self._ask(
            http["method"],
            _target(http),
            headers,
            body,
            limits=self._timeout if patience is None else _limit(patience),
            counts_once=_counts_once(http, keyed_path),
        ) as response:
            try:
                await send(
                    {"type": "http.response.start", "status": response.status, "headers": _kept(response)}
                )
                async for chunk in response.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise UnavailableError("A service behind the gateway broke off.") from error
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def call(self, method: str, path: str, *, headers: HeaderList = (), body: bytes = b"") -> Answer:
        """Send a request and wait for its whole answer."""
        async with await self._ask(
            method,
            path,
            _texts([*headers, *carried_headers()]),
            body or None,
            limits=self._timeout,
        ) as response:
            try:
                answer = Answer(response.status, response.raw_headers, await response.read())
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise UnavailableError("A service that this one depends on broke off.") from error
        return raise_problem(answer)

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._breaker.stop()
        for task in self._left:
            task.cancel()
        await asyncio.gather(*self._left, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _ask(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: "_Body | bytes | None",
        *,
        limits: aiohttp.ClientTimeout,
        counts_once: bool = False,
    ) -> aiohttp.ClientResponse:
        """The answer, of which the head has come.

        Raises:
            UnavailableError: the circuit is open, or there was none.
            ClientGoneError: the client left in the middle of its body.
        """
        url = URL(self._base_url + target, encoded=True)
        is_repeat = False
        while True:
            if self._breaker.is_away:
                raise UnavailableError("A service behind this one is away.")
            session = self._open()
            try:
                response = await session.request(
                    method,
                    url,
                    headers=headers,
                    data=body.content() if isinstance(body, _Body) else body,
                    allow_redirects=False,
                    timeout=limits,
                )
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if isinstance(body, _Body) and body.client_left:
                    raise ClientGoneError("The client closed the connection.") from error
                self._note(session, error)
                nobody_there = isinstance(error, aiohttp.ClientConnectorError)  # nothing was sent
                # aiohttp itself repeats idempotent methods (RFC 9110, 9.2.2). A POST may be so by its key.
                is_held = isinstance(body, _Body) and body.is_whole
                broken = counts_once and is_held and isinstance(error, _BROKEN)
                if is_repeat or not (nobody_there or broken):
                    raise UnavailableError("A service behind this one is away.") from error
                is_repeat = True
                UPSTREAM_REPEATS.labels(self._address).inc()
            else:
                self._breaker.answered()
                return response

    def _note(self, session: aiohttp.ClientSession, error: Exception) -> None:
        UPSTREAM_FAILURES.labels(self._address).inc()
        self._breaker.failed(error)
        if isinstance(error, aiohttp.SocketTimeoutError) or self._breaker.is_away:
            self._leave(session)

    async def _probe(self) -> None:
        """Half open: an answer of any kind tells that somebody is there."""
        async with self._open().get(
            self._base_url + _PROBE_PATH,
            headers={"Connection": "close"},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=_PROBE_S),
        ):
            return

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


class _Body:
    """A client's body: its beginning is held, and all of it where it is short.

    Attributes:
        is_whole: everything is held.
        client_left: in the middle of it.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._held = b""
        self.is_whole = False
        self.client_left = False

    async def read_first(self) -> None:
        """Read it, to its end or to `HELD_BYTES`.

        Raises:
            ClientGoneError: the client left.
        """
        chunks: list[bytes] = []
        size = 0
        while not self.is_whole and size <= HELD_BYTES:
            chunks.append(await self._next())
            size += len(chunks[-1])
        self._held = b"".join(chunks)

    def content(self) -> bytes | AsyncIterator[bytes]:
        """What to send."""
        return self._held if self.is_whole else self._stream()

    async def _stream(self) -> AsyncIterator[bytes]:
        yield self._held
        self._held = b""
        while not self.is_whole:
            yield await self._next()

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            self.client_left = True
            raise ClientGoneError("The client closed the connection.")
        self.is_whole = not message.get("more_body")
        return message.get("body", b"")


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Headers as aiohttp takes them, which writes UTF-8.

    Raises:
        MalformedRequestError: one is in another encoding.
    """
    try:
        return [(name.decode(), value.decode()) for name, value in headers]
    except UnicodeDecodeError:
        raise MalformedRequestError("A header is not in UTF-8.") from None


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


def _counts_once(scope: HTTPScope, keyed_path: str | None) -> bool:
    return (
        scope["path"] == keyed_path
        and scope["method"] == "POST"
        and find_header(scope["headers"], b"idempotency-key") is not None
    )


def _kept(response: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    """The answer's headers, less those of this connection and those that it names as such."""
    dropped = HOP_BY_HOP
    for value in response.headers.getall("Connection", ()):
        dropped |= {name.strip().lower().encode("latin-1") for name in value.split(",")} - _NEVER_NOMINATED
    return [(k.lower(), v) for k, v in response.raw_headers if k.lower() not in dropped]


_NEVER_NOMINATED: Final = frozenset((b"content-type", b"content-length", b"content-encoding"))
