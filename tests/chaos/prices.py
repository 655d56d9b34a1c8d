"""Prices change while records come in: each is priced by the version that its answer names."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, Final

import msgspec

from tests.chaos.door import Door

_EVERY_S: Final = (20.0, 60.0)
_CHANGED: Final = 5
_encoder = msgspec.json.Encoder(decimal_format="number")


class PriceChanges:
    """An operator who publishes a registry version now and then.

    Attributes:
        published: how many versions there were.
    """

    def __init__(self, door: Door, operator_key: str, chance: random.Random) -> None:
        self._door = door
        self._key = operator_key
        self._chance = chance
        self.published = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Publish while the block runs."""
        task = asyncio.create_task(self._publish_on())
        try:
            yield
        finally:
            task.cancel()
            outcomes = await asyncio.gather(task, return_exceptions=True)
            if isinstance(outcomes[0], Exception):
                self._door.note_unexpected(f"publishing prices: {outcomes[0]!r}")

    async def _publish_on(self) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(*_EVERY_S))
            listed = await self._door.ask_until("GET", "/registry.json", purpose="registry", wanted=200)
            models: dict[str, Any] = json.loads(listed.body, parse_float=Decimal)["models"]
            changed = [self._change(models[key]) for key in self._chance.sample(sorted(models), _CHANGED)]
            # The first attempt may have gone through unheard; the same content again makes no new version.
            await self._door.ask_until(
                "POST",
                "/registry/versions",
                key=self._key,
                body=_encoder.encode({"models": changed}),
                purpose="publish",
                wanted=201,
                also=(200,),
            )
            self.published += 1

    def _change(self, model: dict[str, Any]) -> dict[str, Any]:
        factor = Decimal(self._chance.randrange(80, 130)) / 100
        return {
            name: value * factor
            if name in ("dollars_per_million_tokens_input", "dollars_per_million_tokens_output") and value
            else value
            for name, value in model.items()
        }
