"""What a client sends, what each record must cost, and how the client tries again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid4

import aiohttp
import msgspec

from shared.clock import SystemClock
from shared.contracts.keys import Principal
from shared.ids import keyed_log_id
from shared.proofs.signing import SigningKey
from shared.web.principal import PRINCIPAL_HEADER, PrincipalMint
from tests.faults.prices import CACHED_USD, INPUT_USD, OUTPUT_USD

_ATTEMPT_S: Final = 10.0
_GIVE_UP_S: Final = 60.0
_PAUSE_S: Final = 0.03
_MILLION: Final = Decimal(1_000_000)
_encoder: Final = msgspec.json.Encoder(decimal_format="number")
_MINT: Final = PrincipalMint(SigningKey.from_seed(bytes(32)), SystemClock())

Post = Callable[["Request"], Awaitable["Answer"]]


@dataclass(frozen=True)
class Item:
    """A record, and what it must cost: None is unpriced."""

    record: dict[str, Any]
    cost: Decimal | None
    cost_status: str


@dataclass(frozen=True)
class Request:
    """What goes out at once. Either every record has an idempotency key, or there is one record without."""

    account_id: UUID
    path: str
    items: tuple[Item, ...]
    header_key: str | None = None
    token: str = ""

    @property
    def is_keyed(self) -> bool:
        """Whether it may be sent again without a second thought."""
        return self.header_key is not None or "idempotency_key" in self.items[0].record

    @property
    def headers(self) -> dict[str, str]:
        key = {} if self.header_key is None else {"Idempotency-Key": self.header_key}
        token = {PRINCIPAL_HEADER.decode(): self.token}
        return {"Content-Type": "application/json", **token, **key}

    @property
    def body(self) -> bytes:
        records = [item.record for item in self.items]
        return _encoder.encode({"logs": records} if self.path.endswith("batch") else records[0])

    def list_keys(self) -> list[str | None]:
        """The key of each record."""
        return [self.header_key or item.record.get("idempotency_key") for item in self.items]


@dataclass(frozen=True)
class Answer:
    """What came back; None for the status where nothing did."""

    status: int | None
    body: bytes = b""
    is_replayed: bool = False


@dataclass
class Acknowledged:
    """One record that must be found again."""

    account_id: UUID
    item: Item
    text: bytes


@dataclass
class Ledger:
    """What the client knows.

    Attributes:
        acknowledged: by log id.
        uncertain: records without a key of which nothing was heard: each may count once or not at all.
        deliveries: what was acknowledged with keys, and the answers, to be sent once more.
        statuses: of the answers that were no acknowledgement.
        wrong: promises that were broken on the way.
    """

    acknowledged: dict[UUID, Acknowledged] = field(default_factory=dict)
    uncertain: list[tuple[UUID, Item]] = field(default_factory=list)
    deliveries: list[tuple[Request, list[bytes]]] = field(default_factory=list)
    statuses: list[int | None] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def acknowledge(self, request: Request, texts: list[bytes]) -> None:
        """Note the answers to a request, in the order of its records."""
        before = [each[1] for each in self.deliveries if each[0] == request]
        if before:
            if before[0] != texts:
                self.wrong.append(f"a repetition was answered otherwise: {texts!r} after {before[0]!r}")
            return
        for item, text, key in zip(request.items, texts, request.list_keys(), strict=True):
            answer = msgspec.json.decode(text, type=LogAnswer)
            if answer.log_id in self.acknowledged:
                self.wrong.append(f"two records have the log id {answer.log_id}")
            if key is not None and answer.log_id != keyed_log_id(request.account_id, key):
                self.wrong.append(f"the log id {answer.log_id} is not that of its key")
            if (answer.cost, answer.cost_status) != (item.cost, item.cost_status):
                self.wrong.append(f"answered {answer}, but it costs {item.cost} ({item.cost_status})")
            self.acknowledged[answer.log_id] = Acknowledged(request.account_id, item, text)
        if request.is_keyed:
            self.deliveries.append((request, texts))


class LogAnswer(msgspec.Struct):
    """The part of an answer that is settled; the whole of it is compared as text."""

    log_id: UUID
    cost: Decimal | None
    cost_status: str


class BatchAnswer(msgspec.Struct):
    """The answer to a batch."""

    results: list[msgspec.Raw]


@dataclass(frozen=True)
class Script:
    """The requests of one case.

    Attributes:
        in_turn: sent one after the other; the first one comes twice.
        at_once: sent to two processes at the same time.
    """

    in_turn: tuple[Request, ...]
    at_once: Request


def write_script(first: UUID, second: UUID) -> Script:
    """Nine records of two accounts, in every way that there is to send one."""

    def token(account_id: UUID) -> str:
        return _MINT.mint(
            Principal(account_id=account_id, key_id=UUID(int=7), scopes=("log", "read"))
        ).decode()

    tokens = {account_id: token(account_id) for account_id in (first, second)}

    def one(account_id: UUID, item: Item, key: str | None) -> Request:
        return Request(account_id, "/api/v1/log", (item,), key, tokens[account_id])

    batch = (
        priced(2_000, 500, cached=400, idempotency_key=uuid4().hex),
        unknown(idempotency_key=uuid4().hex),
        client(Decimal("0.000000000123"), idempotency_key=uuid4().hex),
    )
    again = one(first, priced(1_000, 100, latency_ms=250, origin="web"), uuid4().hex)
    return Script(
        (
            again,
            one(first, priced(7, 3), None),
            Request(second, "/api/v1/log/batch", batch, None, tokens[second]),
            one(second, client(Decimal("12.5"), metadata={"run": 1}), uuid4().hex),
            one(second, unknown(alias="fast"), None),
            again,
            one(first, priced(1_000_000, 1, alias="deep"), uuid4().hex),
        ),
        one(first, priced(31, 41, latency_ms=5), uuid4().hex),
    )


def priced(input_tokens: int, output_tokens: int, *, cached: int = 0, **fields: Any) -> Item:
    """A record that the registry prices; the sum is done here once more."""
    cost = ((input_tokens - cached) * INPUT_USD + cached * CACHED_USD + output_tokens * OUTPUT_USD) / _MILLION
    tokens = {"input_tokens": input_tokens, "output_tokens": output_tokens, "cached_input_tokens": cached}
    return Item({"provider": "openai", "model": "gpt-4o-mini", **tokens, **fields}, cost, "priced")


def unknown(**fields: Any) -> Item:
    """A record of a model that is in no registry."""
    record = {"provider": "openai", "model": "gpt-99-imaginary", "input_tokens": 5, **fields}
    return Item(record, None, "model_not_in_registry")


def client(cost: Decimal, **fields: Any) -> Item:
    """A record that comes with its cost."""
    record = {"provider": "openai", "model": "gpt-4o-mini", "output_tokens": 11, "cost": cost, **fields}
    return Item(record, cost, "client")


async def deliver(post: Post, request: Request, ledger: Ledger) -> None:
    """Send a request until it is acknowledged, as a client with patience does.

    Raises:
        AssertionError: it is refused, or never acknowledged.
    """
    give_up_at = time.monotonic() + _GIVE_UP_S
    while True:
        answer = await post(request)
        if answer.status == 200:
            ledger.acknowledge(request, texts_of(request, answer))
            return
        ledger.statuses.append(answer.status)
        if not request.is_keyed:
            ledger.uncertain.append((request.account_id, request.items[0]))
        assert answer.status is None or answer.status >= 500, f"refused: {answer}"
        assert time.monotonic() < give_up_at, f"not acknowledged in {_GIVE_UP_S} s: {answer}"
        await asyncio.sleep(_PAUSE_S)


async def offer_other_body(post: Post, request: Request, ledger: Ledger) -> None:
    """Send something else under a key that stands for a record already: it must be refused."""
    item = request.items[0]
    other = Item({**item.record, "output_tokens": 1 + item.record["output_tokens"]}, None, "")
    give_up_at = time.monotonic() + _GIVE_UP_S
    while True:
        answer = await post(
            Request(request.account_id, request.path, (other,), request.header_key, request.token)
        )
        if answer.status == 422:
            return
        ledger.statuses.append(answer.status)
        if answer.status is not None and answer.status < 500:
            ledger.wrong.append(f"another body under a key in use was answered {answer}")
            return
        assert time.monotonic() < give_up_at, f"not answered in {_GIVE_UP_S} s: {answer}"
        await asyncio.sleep(_PAUSE_S)


async def deliver_to_both(posts: tuple[Post, Post], request: Request, ledger: Ledger) -> None:
    """Send the same request to two processes at once: they must give one answer.

    Raises:
        AssertionError: as `deliver`.
    """
    await asyncio.gather(*(deliver(post, request, ledger) for post in posts))


async def send_again(post: Post, ledger: Ledger) -> None:
    """Repeat everything that has a key: the same answers, marked as replays."""
    for request, texts in ledger.deliveries:
        answer = await post(request)
        if answer.status != 200 or texts_of(request, answer) != texts:
            ledger.wrong.append(f"a repetition was answered {answer} after {texts!r}")
        elif not request.path.endswith("batch") and not answer.is_replayed:
            ledger.wrong.append(f"a repetition was not marked as one: {answer}")


def texts_of(request: Request, answer: Answer) -> list[bytes]:
    """The answer to each record of a request."""
    if not request.path.endswith("batch"):
        return [answer.body]
    return [bytes(each) for each in msgspec.json.decode(answer.body, type=BatchAnswer).results]


def poster(session: aiohttp.ClientSession, url: str) -> Post:
    """Sends requests to one process. No answer is one as well."""

    async def post(request: Request) -> Answer:
        try:
            async with (
                asyncio.timeout(_ATTEMPT_S),
                session.post(url + request.path, data=request.body, headers=request.headers) as response,
            ):
                body = await response.read()
                replayed = response.headers.get("Idempotent-Replayed") == "true"
                return Answer(response.status, body, replayed)
        except (aiohttp.ClientError, OSError):  # TimeoutError is one of these
            return Answer(None)

    return post
