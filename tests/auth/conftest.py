"""A whole auth service on a real Postgres, spoken to over HTTP."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default as default_policy
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import httpx
import msgspec
import pytest

from services.auth.service import SCHEMA, build_auth
from services.auth.settings import AuthSettings
from services.auth.store.accounts import Account, insert_account
from services.auth.store.api_keys import insert_api_key
from shared.clock import FixedClock
from shared.contracts.keys import KeysChanged, Principal, Verification
from shared.contracts.topics import KEYS_CHANGED, TOPICS
from shared.errors import LLMRingError
from shared.event_log.port import EventLog, Position, Record
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.event_log.postgres import open_postgres_event_log
from shared.ids import uuid7
from shared.limits.memory import MemoryRateLimiter
from shared.limits.port import RateLimiter
from shared.postgres import Database, Schema, migrate, open_database
from shared.proofs.signing import SigningKey
from shared.runtime.service import Service, Worker
from shared.web.client import Answer
from shared.web.principal import PrincipalMint, PrincipalVerifier

T0 = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"
SETTINGS = AuthSettings(
    public_url="https://api.example.test/",
    password_hash_memory_kib=8,
    password_hash_passes=1,
    password_hash_lanes=1,
)


class SwitchableLog:
    """The real event log behind a switch: while there is a `failure`, appending fails with it."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.failure: LLMRingError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    async def append(self, topic: str, records: Sequence[Record]) -> list[Position]:
        if self.failure is not None:
            raise self.failure
        return await self.log.append(topic, records)


class Ingest:
    """Stands where auth asks what an account has used of the month."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.body = b'{"month":"2027-01","records":7,"resets_at":"2027-02-01T00:00:00Z"}'
        self.asked: list[tuple[str, str, dict[bytes, bytes]]] = []

    async def call(
        self, method: str, path: str, *, headers: Sequence[tuple[bytes, bytes]] = (), body: bytes = b""
    ) -> Answer:
        self.asked.append((method, path, dict(headers)))
        if self.failure is not None:
            raise self.failure
        return Answer(200, (), self.body)


class FromTheStart:
    """The position of a reader that has read nothing."""

    async def load(self, group: str, topic: str, partitions: Collection[int]) -> dict[int, int]:
        return {}


def token_of(answer: httpx.Response) -> str:
    """The session's token that an answer sets."""
    [cookie] = answer.headers.get_list("set-cookie")
    name, _, value = cookie.partition(";")[0].partition("=")
    assert name == "__Host-llmring_session"
    return str(value)


def link_token(mail: EmailMessage) -> str:
    """The token of the link in a mail."""
    body = mail.get_body(("plain",))
    assert body is not None
    [token] = re.findall(r"https://api\.example\.test/password-reset#(\S+)", body.get_content())
    return str(token)


async def run_once(worker: Worker) -> None:
    """Run a worker for one round: it is told to stop as soon as it waits."""

    class Stop(asyncio.Event):
        async def wait(self) -> Literal[True]:
            self.set()
            return True

    await asyncio.wait_for(worker.run(Stop()), 30)


@dataclass
class Auth:
    service: Service
    mails: Path
    http: httpx.AsyncClient
    database: Database
    log: SwitchableLog
    clock: FixedClock
    mint: PrincipalMint
    ingest: Ingest
    operator_ids: tuple[UUID, UUID] | None = None
    making_operator: asyncio.Lock = field(default_factory=asyncio.Lock)

    def token(self, *scopes: str) -> dict[str, str]:
        return self.token_of(uuid7(), *scopes)

    def token_of(
        self, account_id: UUID | str, *scopes: str, key_id: UUID | str | None = None
    ) -> dict[str, str]:
        principal = Principal(
            account_id=UUID(str(account_id)),
            key_id=uuid7() if key_id is None else UUID(str(key_id)),
            scopes=scopes,
        )
        return {"x-llmring-principal": self.mint.mint(principal).decode()}

    async def register(self, email: str, **fields: Any) -> httpx.Response:
        body = {"email": email, "password": PASSWORD, **fields}
        return await self.http.post("/api/v1/register", json=body)

    async def open_account(self, email: str = "nora@example.test") -> dict[str, Any]:
        answer = await self.register(email)
        assert answer.status_code == 201, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def verify(self, key: str) -> Verification | None:
        """What the gateway is told of a key; None is 404."""
        return await self._verify(key, "key")

    async def _verify(self, secret: str, kind: str) -> Verification | None:
        answer = await self.http.post(
            "/internal/keys/verify",
            json={"key_sha256": sha256(secret.encode()).hexdigest(), "kind": kind},
            headers=self.token("gateway"),
        )
        if answer.status_code == 404:
            return None
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=Verification)

    async def log_in(
        self, email: str = "nora@example.test", password: str = PASSWORD, client: str = "198.51.100.1"
    ) -> httpx.Response:
        return await self.http.post(
            "/api/v1/login",
            json={"email": email, "password": password},
            headers={"x-forwarded-for": client},
        )

    async def open_session(self, email: str = "nora@example.test", password: str = PASSWORD) -> str:
        """Log in; tells the session's token."""
        answer = await self.log_in(email, password)
        assert answer.status_code == 200, answer.text
        return token_of(answer)

    async def verify_session(self, token: str) -> Verification | None:
        """What the gateway is told of a session; None is 404."""
        return await self._verify(token, "session")

    async def by_session(self, token: str) -> dict[str, str]:
        """The header by which the gateway vouches for a session."""
        found = await self.verify_session(token)
        assert found is not None
        principal = Principal(account_id=found.account_id, key_id=found.key_id, scopes=found.scopes)
        return {"x-llmring-principal": self.mint.mint(principal).decode()}

    async def ask_reset(
        self, email: str = "nora@example.test", client: str = "198.51.100.1"
    ) -> httpx.Response:
        return await self.http.post(
            "/api/v1/password-reset", json={"email": email}, headers={"x-forwarded-for": client}
        )

    async def confirm_reset(self, token: str, password: str) -> httpx.Response:
        return await self.http.post(
            "/api/v1/password-reset/confirm", json={"token": token, "new_password": password}
        )

    async def send_mails(self) -> None:
        """Let the worker look once more; it stops at its next step."""
        await run_once(next(worker for worker in self.service.workers if worker.name == "auth-mails"))

    def list_mails(self) -> list[EmailMessage]:
        """The mails that were put into the folder, in order."""
        parser = BytesParser(policy=default_policy)
        return [parser.parsebytes(path.read_bytes()) for path in sorted(self.mails.glob("*.eml"))]

    async def get_reset_token(self, email: str = "nora@example.test") -> str:
        """Ask for a link, and take its token out of the mail."""
        assert (await self.ask_reset(email)).status_code == 202
        await self.send_mails()
        return link_token(self.list_mails()[-1])

    async def operator(self) -> dict[str, str]:
        """The header of an operator's key that lives, for what changes something."""
        async with self.making_operator:
            if self.operator_ids is None:
                self.operator_ids = await self._insert_operator()
        account_id, key_id = self.operator_ids
        return self.token_of(account_id, "operator", key_id=key_id)

    async def _insert_operator(self) -> tuple[UUID, UUID]:
        account_id, key_id = uuid7(), uuid7()
        account = Account(account_id, "ops", None, "team", "operator", {}, None, T0)
        async with self.database.transaction() as connection:
            await insert_account(connection, account, email_key="ops", password_hash=None)
            await insert_api_key(
                connection,
                account_id=account_id,
                key_id=key_id,
                key_sha256=sha256(key_id.bytes).digest(),
                prefix="llmr_pk_00000000",
                name=None,
                scopes=["operator"],
                created_at=T0,
            )
        return account_id, key_id

    async def patch(self, account_id: str, body: Any) -> httpx.Response:
        return await self.http.patch(
            f"/api/v1/admin/accounts/{account_id}", json=body, headers=await self.operator()
        )

    async def get_admin(self, path: str = "", **query: Any) -> httpx.Response:
        return await self.http.get(
            f"/api/v1/admin/accounts{path}", params=query, headers=self.token("operator")
        )

    async def count(self, table: str) -> int:
        async with self.database.connection() as connection:
            return int(await connection.fetchval(f"SELECT count(*) FROM auth.{table}"))

    async def wait_for_empty_outbox(self) -> None:
        async with asyncio.timeout(30):
            while await self.count("outbox"):  # noqa: ASYNC110 - the relay tells nobody
                await asyncio.sleep(0.02)

    async def events(self) -> list[KeysChanged]:
        """Every `keys.changed` in the event log."""
        end = sum((await self.log.ends(KEYS_CHANGED)).values())
        found: list[KeysChanged] = []
        async with self.log.subscribe(f"test-{uuid7()}", KEYS_CHANGED, FromTheStart()) as subscription:
            while len(found) < end:
                for part in await subscription.read(max_records=1000, max_wait=timedelta(seconds=1)):
                    found += [msgspec.json.decode(r.value, type=KeysChanged) for r in part.records]
        return found

    async def changed_accounts(self) -> list[UUID]:
        return [event.account_id for event in await self.events()]


@asynccontextmanager
async def open_auth(
    postgres_url: str,
    log_url: str | None = None,
    settings: AuthSettings = SETTINGS,
    build_limiter: Callable[[], RateLimiter] = MemoryRateLimiter,
) -> AsyncIterator[Auth]:
    """The service on an empty database, with the event log on another one if `log_url` says so."""
    await migrate(postgres_url, [SCHEMA, EVENT_LOG_SCHEMA])
    if log_url is not None:
        await migrate(log_url, [EVENT_LOG_SCHEMA])
    database = await open_database(postgres_url, application_name="test-auth")
    log = SwitchableLog(await open_postgres_event_log(log_url or postgres_url))
    await log.ensure_topics(TOPICS)
    clock = FixedClock(T0)
    ingest = Ingest()
    mails = Path(tempfile.mkdtemp()) / "mail"
    signing_key = SigningKey.from_seed(b"\x07" * 32)
    service = build_auth(
        database=database,
        event_log=log,
        principals=PrincipalVerifier([signing_key.public_key], clock),
        client_limiter=build_limiter(),
        email_limiter=build_limiter(),
        clock=clock,
        settings=msgspec.structs.replace(settings, mail_folder=settings.mail_folder or str(mails)),
        ingest=ingest,  # type: ignore[arg-type]  # auth only calls it
    )
    assert service.app is not None
    transport = httpx.ASGITransport(app=service.app)  # type: ignore[arg-type]  # Litestar's ASGI types
    async with httpx.AsyncClient(transport=transport, base_url="http://auth.test") as http:
        yield Auth(service, mails, http, database, log, clock, PrincipalMint(signing_key, clock), ingest)
    for step in service.on_stop:
        await step()
    await log.close()
    await database.close()
    shutil.rmtree(mails.parent)


@pytest.fixture
def postgres_schemas() -> tuple[Schema, ...]:
    return (SCHEMA, EVENT_LOG_SCHEMA)


@pytest.fixture
async def auth(postgres_url: str) -> AsyncIterator[Auth]:
    async with open_auth(postgres_url) as auth:
        yield auth
