"""A registry of one model, at $1 a million in and $2 out, whose version can be told to change."""

import asyncio
from datetime import datetime
from decimal import Decimal

from shared.event_log.port import EventLog
from shared.pricing.rates import Line, Quote
from shared.pricing.tokens import Tokens


class APricebook:
    """Stands where the pricebook stands; every version has the same prices."""

    version = "2031.05.01"
    digest = "d" * 64

    def find_in_force(self, at: datetime) -> "APricebook":
        return self

    async def in_force(self, at: datetime) -> "APricebook":
        return self

    async def edition(self, version: str) -> "APricebook":
        edition = APricebook()
        edition.version = version
        return edition

    async def follow(self, event_log: EventLog, stop: asyncio.Event) -> None:
        await stop.wait()

    def quote(self, provider: str, model: str, tokens: Tokens, service_tier: str) -> tuple[str | None, Quote]:
        if provider != "openai":
            return None, Quote("model_not_in_registry", None, ())
        lines = (_line("input", tokens.input, 1), _line("output", tokens.output, 2))
        return f"openai:{model}", Quote("priced", lines[0].usd + lines[1].usd, lines)


def _line(kind: str, tokens: int, usd_per_million: int) -> Line:
    return Line(kind, tokens, Decimal(usd_per_million), Decimal(tokens * usd_per_million) / 1_000_000)
