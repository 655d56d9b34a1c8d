"""Budgets as their account sees them, and events as a rater does: for the tests of both."""

import json
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec

from services.ingest.record import Recorder
from shared.contracts.topics import BUDGETS_CROSSED
from shared.contracts.usage import UsageLogged
from shared.pricing.rates import Quote
from shared.pricing.tokens import Tokens
from shared.web.client import Answer
from tests.ingest.house import KEY, NOW, A, Ingest, Street
from tests.ingest.prices import APricebook
from tests.ingest.test_raters import a_slice, an_event

MAY: Final = "2031-05"


def numbers(body: bytes) -> Any:
    """JSON with exact numbers."""
    return json.loads(body, parse_float=Decimal, parse_int=Decimal)


def a_budget(amount: Any = 100, scope: str = "account", value: str | None = None, **fields: Any) -> Any:
    """An entry of a list of budgets."""
    return {"name": f"{scope} {value}", "scope": scope, "value": value, "amount": amount} | fields


async def put(ingest: Ingest, *budgets: Any, account: UUID = A) -> list[Any]:
    """Set an account's budgets."""
    answer = await ingest.call("PUT", "/api/v1/budgets", {"budgets": budgets}, account=account)
    found: list[Any] = numbers(answer.body)["budgets"]
    return found


async def get(ingest: Ingest, account: UUID = A) -> list[Any]:
    """An account's budgets."""
    found: list[Any] = numbers((await ingest.call("GET", "/api/v1/budgets", account=account)).body)["budgets"]
    return found


async def spent(ingest: Ingest, account: UUID = A) -> list[Decimal]:
    """What is spent of each budget."""
    return [each["spent"] for each in await get(ingest, account)]


class Asked(NamedTuple):
    """An answer to a request below a budget."""

    body: Any
    replayed: bool


async def ask(
    ingest: Ingest, budget: Any, what: str, account: UUID = A, key: str | None = None, **fields: Any
) -> Asked:
    """Reserve or settle."""
    path = f"/api/v1/budgets/{budget['id']}/{what}"
    answer: Answer = await ingest.call("POST", path, fields, account=account, key=key)
    assert answer.status == {"reserve": 201, "settle": 200}[what]
    return Asked(numbers(answer.body), (b"idempotent-replayed", b"true") in answer.headers)


async def crossings(street: Street) -> list[tuple[str | None, str, str, str, str]]:
    """What was told, each once: whose budget, the month, the amount, the threshold, and what was spent."""
    found: dict[str, Any] = {}
    for value in await street.logged(BUDGETS_CROSSED):
        event = msgspec.json.decode(value)
        found.setdefault(event["event_id"], event)
    return [
        (each["value"], each["month"], each["amount"], each["threshold"], each["spent"])
        for each in found.values()
    ]


def costing(cost: str | None, account: UUID = A, **fields: Any) -> UsageLogged:
    """A record whose caller said what it cost; None: nobody knows."""
    given: dict[str, Any] = {"account_id": account, "key_id": KEY, "client_cost": cost, "cost": cost}
    if cost is None:
        given |= {"provider": "unknown", "model_key": None, "calculated_cost": None}
        given |= {"calculated_status": "model_not_in_registry", "cost_status": "model_not_in_registry"}
    else:
        given |= {"cost_status": "client"}
    return an_event(**given | fields)


class NowKnown(APricebook):
    """Knows prices of a provider that was not known."""

    def quote(self, provider: str, model: str, tokens: Tokens, service_tier: str) -> tuple[str | None, Quote]:
        return f"{provider}:{model}", super().quote("openai", model, tokens, service_tier)[1]

    async def edition(self, version: str) -> "APricebook":
        return self


class Rater:
    """Records events, a slice at a time."""

    def __init__(self, recorder: Recorder, partition: int = 0) -> None:
        self._recorder = recorder
        self._partition = partition
        self._next = 0

    async def record(self, *events: UsageLogged) -> None:
        """Store them as one slice."""
        part = a_slice(events, partition=self._partition, first=self._next)
        self._next += len(events)
        await self._recorder.record(part)


def priced_late(event: UsageLogged) -> UsageLogged:
    """A record without a cost once more, at the price that was found for it: $1 a million in, $2 out."""
    cost = str(Decimal(event.input_tokens + 2 * event.output_tokens) / 1_000_000)
    return msgspec.structs.replace(
        event,
        model_key="unknown:m-1",
        calculated_cost=cost,
        calculated_status="priced",
        cost=cost,
        cost_status="priced",
        registry_version="2031.05.01",
        repriced_at=NOW,
    )


def new_account() -> UUID:
    """An account that nobody has seen."""
    return UUID(int=uuid4().int)
