"""What stands around the gateway in these tests: services that record, auth, and an event log with faults."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import msgspec
import uvicorn

from shared.contracts.keys import SCOPE_GATEWAY, SESSION_SCOPES, KeyLookup, KeysChanged, Verification
from shared.contracts.topics import KEYS_CHANGED
from shared.errors import LLMRingError, NotFoundError, UnavailableError
from shared.event_log.port import Position, Record, StoredRecord
from shared.web.asgi import ClientGoneError, find_header, read_body, send_answer
from shared.web.principal import PRINCIPAL_HEADER, PrincipalVerifier, require_scope
from shared.web.problems import send_problem


class Request(NamedTuple):
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


class Recorder:
    """A service that answers as it is told and remembers what it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests: list[Request] = []
        self.status = 200
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: bytes = msgspec.json.encode({"service": name})
        self.error: Exception | None = None
        self.act: Any = None
        """An ASGI application that answers instead."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.act is not None:
            await self.act(scope, receive, send)
            return
        if self.error is not None:
            raise self.error
        try:
            body = await read_body(scope, receive, 100_000_000)
        except ClientGoneError:
            return
        headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]]
        query = scope["query_string"].decode()
        self.requests.append(Request(scope["method"], scope["path"], query, headers, body))
        await send_answer(send, self.status, self.body, self.headers)

    @property
    def last(self) -> Request:
        return self.requests[-1]


class FakeAuth(Recorder):
    """Auth as far as the gateway knows it: keys by hash, asked for with the gateway's own token."""

    def __init__(self, principals: PrincipalVerifier) -> None:
        super().__init__("auth")
        self._principals = principals
        self.keys: dict[str, Verification] = {}
        self.sessions: dict[str, Verification] = {}
        self.lookups: list[str] = []
        self.away: LLMRingError | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    def add(self, plain: str, **fields: Any) -> Verification:
        defaults: dict[str, Any] = {
            "account_id": uuid4(),
            "key_id": uuid4(),
            "scopes": ("log", "read", "admin"),
            "tier": "free",
            "requests_per_minute": 60,
            "logs_per_month": 10_000,
            "expires_at": None,
        }
        found = Verification(**{**defaults, **fields})
        self.keys[hashlib.sha256(plain.encode()).hexdigest()] = found
        return found

    def add_session(self, token: str, **fields: Any) -> Verification:
        found = self.add(token, **{"scopes": SESSION_SCOPES, **fields})
        digest = hashlib.sha256(token.encode()).hexdigest()
        self.sessions[digest] = self.keys.pop(digest)
        return found

    def remove(self, plain: str) -> None:
        del self.keys[hashlib.sha256(plain.encode()).hexdigest()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/internal/keys/verify":
            await super().__call__(scope, receive, send)
            return
        try:
            require_scope(
                self._principals.verify(find_header(scope["headers"], PRINCIPAL_HEADER)), SCOPE_GATEWAY
            )
            lookup = msgspec.json.decode(await read_body(scope, receive, 1000), type=KeyLookup)
            self.lookups.append(lookup.key_sha256)
            known = self.sessions if lookup.kind == "session" else self.keys
            found = known.get(lookup.key_sha256)  # read first, answered when the gate opens
            await self.gate.wait()
            if self.away is not None:
                raise self.away
            if found is None:
                raise NotFoundError("There is no live API key of this hash.")
            await send_answer(send, 200, msgspec.json.encode(found))
        except LLMRingError as error:
            await send_problem(scope, send, error)


class FaultyLog:
    """An event log of one topic in memory, whose faults can be switched on.

    Attributes:
        away: `ends` and new tails raise.
        hung: `ends` never answers.
        silent: records are stored and never delivered.
    """

    def __init__(self) -> None:
        self.away = False
        self.hung = False
        self.silent = False
        self.end = 0
        self.opened = 0
        self._tails: list[asyncio.Queue[StoredRecord | Exception]] = []

    async def append(self, topic: str, records: list[Record]) -> list[Position]:
        for record in records:
            stored = StoredRecord(
                topic, 0, self.end, record.key, record.value, record.headers, datetime.now(UTC)
            )
            self.end += 1
            if not self.silent:
                for tail in self._tails:
                    tail.put_nowait(stored)
        return [Position(0, self.end - 1)]

    async def announce(self, account_id: UUID) -> None:
        value = msgspec.json.encode(KeysChanged(account_id=account_id, changed_at=datetime.now(UTC)))
        await self.append(KEYS_CHANGED, [Record(account_id.bytes, value)])

    def break_tails(self, error: Exception) -> None:
        for tail in self._tails:
            tail.put_nowait(error)

    @contextlib.asynccontextmanager
    async def tail(self, topic: str) -> AsyncIterator[AsyncIterator[StoredRecord]]:
        assert topic == KEYS_CHANGED
        if self.away:
            raise UnavailableError("the log is away")
        queue: asyncio.Queue[StoredRecord | Exception] = asyncio.Queue()
        self._tails.append(queue)
        self.opened += 1

        async def records() -> AsyncIterator[StoredRecord]:
            while True:
                record = await queue.get()
                if isinstance(record, Exception):
                    raise record
                yield record

        try:
            yield records()
        finally:
            self._tails.remove(queue)

    async def ends(self, topic: str) -> dict[int, int]:
        if self.hung:
            await asyncio.Event().wait()
        if self.away:
            raise UnavailableError("the log is away")
        return {0: self.end}

    async def ping(self) -> None:
        if self.away:
            raise UnavailableError("the log is away")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.001)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@contextlib.asynccontextmanager
async def serve(*apps: Any) -> AsyncIterator[list[int]]:
    """Serve each application by a real server of its own, on free ports; all stop together."""
    servers = [_Server(_config(app)) for app in apps]
    serving = [asyncio.create_task(server.serve()) for server in servers]
    await until(lambda: all(server.started for server in servers))
    try:
        yield [server.servers[0].sockets[0].getsockname()[1] for server in servers]
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*serving)


def _config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
