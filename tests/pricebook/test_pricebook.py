"""The pricebook follows the registry: soon, ahead of time, and without the event log."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import monotonic
from typing import Any

import pytest

from shared.clock import FixedClock
from shared.errors import NotFoundError, UnavailableError
from shared.event_log.port import StoredRecord
from shared.pricebook.pricebook import Pricebook
from shared.pricing.cards import STANDARD
from shared.pricing.tokens import Tokens
from tests.pricebook.registry import ARegistry

NOW = datetime(2031, 5, 3, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
V1, V2, V3 = "2031.05.01", "2031.05.02", "2031.05.03"
Prices = dict[str, tuple[str, str]]


class ALog:
    """An event log of which only `registry.published` can be heard, when it can."""

    def __init__(self) -> None:
        self.is_away = False
        self._told = asyncio.Event()

    def tell(self) -> None:
        self._told.set()

    @asynccontextmanager
    async def tail(self, topic: str) -> AsyncIterator[AsyncIterator[StoredRecord]]:
        if self.is_away:
            raise UnavailableError("The event log is away.")
        yield self._records()

    async def _records(self) -> AsyncIterator[StoredRecord]:
        while True:
            await self._told.wait()
            self._told.clear()
            yield StoredRecord("registry.published", 0, 0, b"registry", b"{}", (), NOW)


class Scene:
    """A registry with one version, and a pricebook that has read it."""

    def __init__(self) -> None:
        self.registry = ARegistry()
        self.registry.publish(V1, NOW - 10 * HOUR, {"acme:m": ("1", "1")})
        self.clock = FixedClock(NOW)
        self.log = ALog()
        self.pricebook = Pricebook(self.registry, self.clock)  # type: ignore[arg-type]  # stands in its place

    def price(self, at: datetime = NOW) -> tuple[str, Decimal | None]:
        """Which version prices a million tokens at once, without a question to anybody, and at how much."""
        edition = self.pricebook.find_in_force(at)
        assert edition is not None
        _, quote = edition.quote("acme", "m", Tokens(input=1_000_000), STANDARD)
        return edition.version, quote.cost

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(self.pricebook.follow(self.log, stop))  # type: ignore[arg-type]  # likewise
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(task, 1)

    async def seconds_until(self, version: str, at: datetime = NOW) -> float:
        """How long it takes until a version prices what occurs at an instant."""
        began = monotonic()
        while self.price(at)[0] != version:
            assert monotonic() - began < 10
            await asyncio.sleep(0.005)
        return monotonic() - began


@pytest.fixture
async def scene() -> Scene:
    made = Scene()
    await made.pricebook.refresh()
    return made


async def test_a_publish_that_is_heard_of_counts_at_once(scene: Scene) -> None:
    async with scene.following():
        await asyncio.sleep(0.1)
        scene.registry.publish(V2, NOW, {"acme:m": ("2", "2")})
        scene.log.tell()
        assert await scene.seconds_until(V2) < 0.3
    assert scene.price() == (V2, Decimal(2))


@pytest.mark.parametrize("is_away", [True, False])
async def test_it_counts_within_a_second_also_if_nobody_tells(scene: Scene, is_away: bool) -> None:
    scene.log.is_away = is_away
    async with scene.following():
        await asyncio.sleep(0.1)
        scene.registry.publish(V2, NOW, {"acme:m": ("2", "2")})
        assert await scene.seconds_until(V2) < 0.8


async def test_what_has_not_changed_is_not_sent_again(scene: Scene) -> None:
    for _ in range(3):
        await scene.pricebook.refresh()
    assert scene.registry.calls.count(f"/registry/v/{V1}/registry.json") == 1
    scene.registry.publish(V2, NOW, {"acme:m": ("2", "2")})
    await scene.pricebook.refresh()
    assert scene.price()[0] == V2


async def test_what_comes_into_force_later_is_there_when_the_registry_is_not(scene: Scene) -> None:
    scene.registry.publish(V2, NOW + HOUR, {"acme:m": ("2", "2")})
    scene.registry.publish(V3, NOW + 2 * HOUR, {"acme:m": ("3", "3")})
    async with scene.following():
        await scene.seconds_until(V3, NOW + 3 * HOUR)
        scene.registry.is_away = True
        assert scene.price(NOW + HOUR - timedelta(microseconds=1)) == (V1, Decimal(1))
        assert scene.price(NOW + HOUR) == (V2, Decimal(2))
        assert scene.price(NOW + 3 * HOUR) == (V3, Decimal(3))
        await asyncio.sleep(0.6)
        assert scene.price() == (V1, Decimal(1))
        scene.registry.is_away = False


async def test_a_version_counts_once_it_is_read_and_nobody_waits_for_it(scene: Scene) -> None:
    scene.registry.publish(V2, NOW, {"acme:m": ("2", "2")})
    call = scene.registry.call

    async def only_the_list(method: str, path: str, **more: Any) -> Any:
        if path.endswith(f"{V2}/registry.json"):
            raise UnavailableError("The registry is away.")
        return await call(method, path, **more)

    scene.registry.call = only_the_list  # type: ignore[method-assign,assignment]  # breaks off in the middle
    with pytest.raises(UnavailableError):
        await scene.pricebook.refresh()
    assert scene.price() == (V1, Decimal(1))
    assert (await scene.pricebook.in_force(NOW)).version == V1
    scene.registry.call = call  # type: ignore[method-assign]  # as before
    await scene.pricebook.refresh()
    assert scene.price() == (V2, Decimal(2))


async def test_an_instance_that_is_behind_takes_nothing_back(scene: Scene) -> None:
    scene.registry.publish(V2, NOW, {"acme:m": ("2", "2")})
    await scene.pricebook.refresh()
    scene.registry.unheard.add(V2)
    for _ in range(3):
        await scene.pricebook.refresh()
        assert scene.price()[0] == V2


async def after(seconds: float, act: Callable[[], None]) -> None:
    await asyncio.sleep(seconds)
    act()


async def timed(work: Awaitable[object]) -> float:
    began = monotonic()
    with pytest.raises(NotFoundError):
        await work
    return monotonic() - began


async def test_a_version_that_one_instance_has_told_of_is_waited_for_at_another(scene: Scene) -> None:
    scene.registry.publish(V2, NOW, {"acme:m": ("2", "2")})
    scene.registry.unheard.add(V2)
    hear = asyncio.create_task(after(0.3, scene.registry.unheard.clear))
    assert (await scene.pricebook.edition(V2)).version == V2
    await hear
    assert await timed(scene.pricebook.edition("1999.01.01")) < 0.2  # it would be there
    assert await timed(scene.pricebook.edition("2099.01.01")) > 0.8
    assert await timed(scene.pricebook.edition("2099.01.01")) < 0.2
