"""The receipts service on a real database and event log, and the means to look into both."""

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from services.receipts.issue import GROUP, Issuer
from services.receipts.log import ReceiptLog
from services.receipts.service import SCHEMA, build_receipts
from services.receipts.settings import ReceiptsSettings
from services.receipts.signer import Signer
from shared.clock import FixedClock
from shared.contracts.keys import Principal
from shared.contracts.topics import USAGE_RATED
from shared.contracts.usage import CostLine, UsageRated
from shared.event_log.port import EventLog, Slice, StoredRecord
from shared.event_log.positions import PostgresPositions
from shared.ids import uuid7
from shared.postgres import Database, migrate, open_database
from shared.pricing.rates import Line, Quote
from shared.pricing.tokens import Tokens
from shared.proofs.signing import SigningKey
from shared.runtime.service import Service
from shared.web.client import Answer, AsgiUpstream
from shared.web.principal import PrincipalMint, PrincipalVerifier
from tests.receipts.event_log import EVENT_LOG_SCHEMA, open_log

NOW = datetime(2031, 5, 3, 12, 0, tzinfo=UTC)
A, B = UUID(int=0xA), UUID(int=0xB)
GATEWAY = SigningKey.from_seed(bytes(32))
_encoder = msgspec.json.Encoder()


def a_rated(account_id: UUID = A, **changes: Any) -> UsageRated:
    fields: dict[str, Any] = {
        "log_id": uuid7(),
        "account_id": account_id,
        "key_id": UUID(int=7),
        "occurred_at": datetime(2031, 5, 3, 11, 59, 58, 250_000, tzinfo=UTC),
        "received_at": datetime(2031, 5, 3, 11, 59, 59, tzinfo=UTC),
        "provider": "openai",
        "model": "gpt-4o-mini",
        "model_key": "openai:gpt-4o-mini",
        "input_tokens": 1200,
        "output_tokens": 340,
        "cached_input_tokens": 100,
        "alias": "résumé 😀",
        "origin": "web",
        "id_at_origin": "r-17",
        "latency_ms": 812,
        "metadata": msgspec.Raw(b'{"user_id": "u1", "share": 0.5}'),
        "calculated_cost": "0.0003765",
        "calculated_status": "priced",
        "cost": "0.0003765",
        "cost_status": "priced",
        "registry_version": "2031.05.01",
        "cost_breakdown": [
            CostLine("input", 1100, "0.15", "0.000165"),
            CostLine("cached_input", 100, "0.075", "0.0000075"),
            CostLine("output", 340, "0.6", "0.000204"),
        ],
        "rated_at": NOW,
        "registry_digest": APricebook.digest,
    }
    return UsageRated(**fields | changes)


def a_slice(values: Sequence[UsageRated | bytes | None], *, first: int = 0, partition: int = 0) -> Slice:
    """Records as the event log would hand them over, from offset `first` on."""
    records = [
        StoredRecord(
            USAGE_RATED,
            partition,
            first + index,
            b"k",
            _encoder.encode(value) if isinstance(value, UsageRated) else value,
            (("traceparent", b"00-1-2-01"),),
            NOW,
        )
        for index, value in enumerate(values)
    ]
    return Slice(USAGE_RATED, partition, tuple(records), first)


class APricebook:
    """A registry that knows one model, at $1 a million in and $2 out."""

    version = "2031.05.01"
    digest = "d" * 64

    async def in_force(self, at: datetime) -> "APricebook":
        return self

    def quote(self, provider: str, model: str, tokens: Tokens, service_tier: str) -> tuple[str | None, Quote]:
        if (provider, model) != ("openai", "gpt-4o-mini"):
            return None, Quote("model_not_in_registry", None, ())
        lines = (_line("input", tokens.input, 1), _line("output", tokens.output, 2))
        return "openai:gpt-4o-mini", Quote("priced", lines[0].usd + lines[1].usd, lines)


def _line(kind: str, tokens: int, usd_per_million: int) -> Line:
    return Line(kind, tokens, Decimal(usd_per_million), Decimal(tokens * usd_per_million) / 1_000_000)


@dataclass
class House:
    """One process of the service: its own connections and its own copy of the key."""

    database: Database
    event_log: EventLog
    signer: Signer
    issuer: Issuer
    service: Service
    clock: FixedClock

    async def call(
        self,
        method: str,
        path: str,
        *,
        account: UUID | None = A,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        scopes: tuple[str, ...] = ("log", "read"),
    ) -> Answer:
        """One request as the gateway would pass it on; a problem is raised as its typed error."""
        sent: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json")]
        if account is not None:
            sent += self.principal_headers(account, scopes).items()
        sent += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        assert self.service.app is not None
        return await AsgiUpstream(self.service.app).call(method, path, headers=sent, body=raw)

    def principal_headers(
        self, account: UUID, scopes: tuple[str, ...] = ("log", "read")
    ) -> dict[bytes, bytes]:
        """What the gateway adds to a request of an account."""
        principal = Principal(account_id=account, key_id=UUID(int=7), scopes=scopes)
        return {b"x-llmring-principal": PrincipalMint(GATEWAY, self.clock).mint(principal)}

    async def get(self, path: str, account: UUID | None = A) -> Any:
        """The JSON at a path."""
        return json.loads((await self.call("GET", path, account=account)).body)

    async def post(self, path: str, body: object, account: UUID | None = A, **options: Any) -> Any:
        """The JSON that answers a body."""
        return json.loads((await self.call("POST", path, account=account, body=body, **options)).body)

    async def payloads(self, account: UUID = A) -> list[dict[str, Any]]:
        """The signed facts of an account's receipts, in the order of their numbers."""
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT payload FROM receipts.receipts WHERE account_id = $1 ORDER BY account_sequence",
                account,
            )
        return [json.loads(row["payload"]) for row in rows]

    async def numbers(self, account: UUID = A) -> list[int]:
        """The numbers of an account's receipts, and that the counter agrees with them."""
        numbers = [payload["account_sequence"] for payload in await self.payloads(account)]
        async with self.database.connection() as connection:
            last = await connection.fetchval(
                "SELECT last_sequence FROM receipts.sequences WHERE account_id = $1", account
            )
        assert (last or 0) == len(numbers)
        return numbers

    async def position(self, partition: int = 0) -> int:
        """The issuer's stored position."""
        loaded = await PostgresPositions(self.database, "receipts").load(GROUP, USAGE_RATED, [partition])
        return loaded.get(partition, 0)


class Street:
    """Opens houses on one database, and closes them all."""

    def __init__(self, url: str, data_dir: Path, stack: AsyncExitStack) -> None:
        self.url = url
        self.data_dir = data_dir
        self._stack = stack

    async def open_house(self, *, clock: FixedClock | None = None, **settings: Any) -> House:
        """Start one more process of the service, its workers left out."""
        clock = clock or FixedClock(NOW)
        database = await open_database(self.url, application_name="test")
        self._stack.push_async_callback(database.close)
        event_log = await open_log(self.url)
        self._stack.push_async_callback(event_log.close)
        values: dict[str, Any] = {"data_dir": str(self.data_dir), "issue_wait_ms": 300} | settings
        return await build_house(database, event_log, clock, ReceiptsSettings(**values))


async def migrate_street(url: str) -> None:
    """Make the tables of the service and of the event log."""
    await migrate(url, [EVENT_LOG_SCHEMA, SCHEMA])


async def build_house(
    database: Database, event_log: EventLog, clock: FixedClock, settings: ReceiptsSettings
) -> House:
    """Put a process together and take its steps at start."""
    service = build_receipts(
        database=database,
        event_log=event_log,
        pricebook=APricebook(),  # type: ignore[arg-type]
        principals=PrincipalVerifier([GATEWAY.public_key], clock),
        clock=clock,
        version="1",
        settings=settings,
    )
    for step in service.on_start:
        await step()
    signer = Signer(database, settings, clock)
    await signer.open()
    issuer = Issuer(
        database=database,
        event_log=event_log,
        positions=PostgresPositions(database, SCHEMA.name),
        signer=signer,
        log=ReceiptLog(database, signer, settings.log_origin, clock),
        clock=clock,
    )
    return House(database, event_log, signer, issuer, service, clock)


def is_signed(receipt: dict[str, Any], keys: dict[str, Any]) -> bool:
    """What a stranger does with PyNaCl and the published keys, and nothing of ours."""
    key = next(key for key in keys["keys"] if key["key_id"] == receipt["payload"]["key_id"])
    text = json.dumps(receipt["payload"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    try:
        VerifyKey(base64.b64decode(key["public_key"])).verify(
            text.encode(), base64.b64decode(receipt["signature"])
        )
    except BadSignatureError:
        return False
    return len({receipt["receipt_id"], receipt["id"], receipt["payload"]["receipt_id"]}) == 1
