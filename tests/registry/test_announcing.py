"""Every version is told to the event log: after its commit, in order, at least once, whatever fails."""

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from services.registry.announce import announce_versions, run_announcer
from shared.contracts.registry import RegistryPublished
from shared.contracts.topics import REGISTRY_PUBLISHED
from shared.errors import UnavailableError
from shared.event_log.port import Position, Record
from tests.pricing.price_card import CARD, make_model
from tests.registry.conftest import NOON, Running, Start


class Breaking:
    """The real event log, of which some appends break: before they are stored, or after."""

    def __init__(self, running: Running) -> None:
        self._append = running.event_log.append
        self.before = 0
        self.after = 0
        running.event_log.append = self.append  # type: ignore[method-assign]  # a fault on the way to the real one

    async def append(self, topic: str, records: Sequence[Record]) -> list[Position]:
        if self.before:
            self.before -= 1
            raise UnavailableError("the event log is away")
        positions = await self._append(topic, records)
        if self.after:
            self.after -= 1
            raise UnavailableError("the event log answered nothing")
        return positions


@asynccontextmanager
async def listening(running: Running) -> Any:
    """Gives a function that waits for the next events and decodes them."""
    async with running.event_log.tail(REGISTRY_PUBLISHED) as records:

        async def hear(count: int) -> list[RegistryPublished]:
            async with asyncio.timeout(20):
                return [
                    msgspec.json.decode((await anext(records)).value or b"", type=RegistryPublished)
                    for _ in range(count)
                ]

        yield hear


async def untold(running: Running) -> int:
    async with running.database.connection() as connection:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM registry.versions WHERE announced_at IS NULL"
        )
    return count


async def test_a_publish_is_told_with_its_digest(registry: Running) -> None:
    async with listening(registry) as hear:
        await registry.must_publish(*CARD.values(), effective_from="2026-01-01")
        (event,) = await hear(1)
    listed = (await registry.get("/registry/versions")).json()["versions"][0]
    assert (event.v, event.version, event.digest) == (1, "2026.11.02", listed["digest"])
    assert event.generated_at == NOON
    assert event.effective_from.isoformat() == "2026-01-01T00:00:00+00:00"
    assert await untold(registry) == 0


async def test_what_is_refused_or_changes_nothing_is_not_told(card: Running) -> None:
    async with listening(card) as hear:
        await card.publish(*CARD.values())
        await card.publish(make_model("m", input="-1"))
        await card.publish(make_model("m"), dry_run=True)
        await card.must_publish(make_model("m"))
        assert [event.version for event in await hear(1)] == ["2026.11.02.2"]


async def test_a_publish_stands_while_the_event_log_is_away_and_is_told_later(card: Running) -> None:
    log = Breaking(card)
    log.before = 2
    async with listening(card) as hear:
        await card.must_publish(make_model("a"))
        await card.must_publish(make_model("b"))
        assert await untold(card) == 2
        assert (await card.get("/registry")).json()["version"] == "2026.11.02.3"
        await card.must_publish(make_model("c"))
        assert [event.version for event in await hear(3)] == ["2026.11.02.2", "2026.11.02.3", "2026.11.02.4"]
    assert await untold(card) == 0


async def test_an_event_whose_note_was_lost_is_told_again(card: Running) -> None:
    log = Breaking(card)
    log.after = 1
    async with listening(card) as hear:
        await card.must_publish(make_model("a"))
        assert await untold(card) == 1
        assert await announce_versions(card.database, card.event_log, card.clock) == 1
        assert [event.version for event in await hear(2)] == ["2026.11.02.2"] * 2
    assert await announce_versions(card.database, card.event_log, card.clock) == 0


async def test_a_restart_tells_what_a_crash_left_untold(start: Start) -> None:
    running: Running = await start(seed=True)
    assert await untold(running) == 13
    again: Running = await start(seed=True)
    stop = asyncio.Event()
    log = Breaking(again)
    log.before = 2
    async with listening(again) as hear:
        announcer = asyncio.create_task(
            run_announcer(
                stop, database=again.database, event_log=again.event_log, clock=again.clock, every_s=0.05
            )
        )
        told = [event.version for event in await hear(13)]
        stop.set()
        await announcer
    assert told == (await again.versions())[::-1]
    assert await untold(again) == 0


async def test_two_announcers_at_once_tell_each_version_once(start: Start) -> None:
    one: Running = await start(seed=True)
    other: Running = await start()
    counts = await asyncio.gather(
        *(announce_versions(each.database, each.event_log, each.clock) for each in (one, other, one, other))
    )
    assert sum(counts) == 13


async def test_the_service_announces_by_itself(start: Start) -> None:
    running: Running = await start(seed=True)
    stop = asyncio.Event()
    async with listening(running) as hear:
        workers = [asyncio.ensure_future(worker.run(stop)) for worker in running.service.workers]
        assert len(await hear(13)) == 13
        stop.set()
        await asyncio.gather(*workers)
