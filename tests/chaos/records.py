"""What the senders send: seeded records, and what each must cost, worked out here once more."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

_PER_MILLION: Final = Decimal(1_000_000)
_BATCH_SHARE: Final = 0.06
_LARGEST_BATCH: Final = 40
_CLIENT_COST_SHARE: Final = 0.1
_UNKNOWN: Final = ("not-in-registry", "gpt-99-imaginary")
_encoder = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True)
class Work:
    """What goes out in one request: a record, or a batch of them.

    Attributes:
        body: the request's JSON.
        records: the fields of each record, all with an idempotency key.
    """

    path: str
    body: bytes
    records: tuple[dict[str, Any], ...]


class RecordSource:
    """Makes records from a seed.

    Args:
        models: `provider:model` of those that are sent, beside unknown ones.
    """

    def __init__(self, chance: random.Random, models: list[str]) -> None:
        self._chance = chance
        self._models = models

    def make_work(self) -> Work:
        """The next request."""
        if self._chance.random() >= _BATCH_SHARE:
            return one(self._make_record())
        count = self._chance.randrange(2, _LARGEST_BATCH)
        records = tuple(self._make_record() for _ in range(count))
        return Work("/api/v1/log/batch", _encoder.encode({"logs": records}), records)

    def _make_record(self) -> dict[str, Any]:
        chance = self._chance
        provider, _, model = chance.choice(self._models).partition(":")
        if chance.random() < 0.08:
            model = chance.choice(_UNKNOWN)
        input_tokens = chance.randrange(50_000)  # below every long-context threshold
        record: dict[str, Any] = {
            "provider": provider,
            "model": model,
            "input_tokens": input_tokens,
            "output_tokens": chance.randrange(8_000),
            "idempotency_key": f"{chance.getrandbits(128):032x}",
        }
        if chance.random() < 0.3:
            record["cached_input_tokens"] = chance.randrange(input_tokens + 1)
        if chance.random() < _CLIENT_COST_SHARE:
            record["cost"] = Decimal(chance.randrange(10**9)).scaleb(-chance.randrange(3, 13))
        if chance.random() < 0.7:
            record["latency_ms"] = chance.randrange(5_000)
        if chance.random() < 0.7:
            record["origin"] = chance.choice(("web", "cron", "agent"))
        if chance.random() < 0.3:
            record["alias"] = chance.choice(("fast", "deep"))
        if chance.random() < 0.1:
            record["metadata"] = {"run": chance.randrange(1000), "note": "ünïcode 😀"}
        if chance.random() < 0.1:
            late = timedelta(seconds=chance.randrange(3 * 86_400))
            record["timestamp"] = (datetime.now(UTC) - late).isoformat(timespec="milliseconds")
        return record


def one(record: dict[str, Any]) -> Work:
    """A request with one record."""
    return Work("/api/v1/log", _encoder.encode(record), (record,))


def with_other_body(work: Work) -> Work:
    """The same idempotency key for something else: it must be refused."""
    record = work.records[0]
    return one({**record, "output_tokens": record["output_tokens"] + 1})


def price_by_hand(record: Mapping[str, Any], models: Mapping[str, Any]) -> Decimal | None:
    """What a record costs by a registry version's models: none of the product's code takes part.

    The source sends exact keys or unknown names, short contexts, and no parts but cached input.
    """
    if "cost" in record:
        return Decimal(record["cost"])
    entry = models.get(f"{record['provider']}:{record['model']}")
    if entry is None:
        return None
    prices = {
        name: entry.get(f"dollars_per_million_tokens_{name}")
        for name in ("input", "output", "cached_input", "cache_read")
    }
    cached_price = next(
        (prices[name] for name in ("cached_input", "cache_read", "input") if prices[name] is not None), None
    )
    cached = record.get("cached_input_tokens", 0)
    cost = Decimal(0)
    for tokens, price in (
        (record["input_tokens"] - cached, prices["input"]),
        (cached, cached_price),
        (record["output_tokens"], prices["output"]),
    ):
        if tokens and price is None:
            return None
        cost += tokens * Decimal(price or 0) / _PER_MILLION
    return cost
