"""Bugs to plant, to see that the checker finds them. Without a fault nobody notices any of them."""

import asyncio
from collections.abc import Callable
from typing import Any

from services.ingest import record
from services.ingest.accept import Acceptance
from services.ingest.record import Recorder
from shared.event_log.positions import PostgresPositions

_waiting: set[Any] = set()


def move_position_apart() -> None:
    """The position is committed by itself, before the results."""
    real = PostgresPositions.advance

    async def advance(positions: Any, connection: Any, *arguments: Any, **options: Any) -> None:
        async with positions._database.transaction() as own:
            await real(positions, own, *arguments, **options)

    PostgresPositions.advance = advance  # type: ignore[method-assign]


def add_sums_apart() -> None:
    """The rollups are committed by themselves, before the rest."""
    databases: list[Any] = []
    real_record, real_add = Recorder.record, record.add_sums

    async def remember(recorder: Any, accepted: Any) -> None:
        databases[:] = [recorder._database]
        await real_record(recorder, accepted)

    async def add_sums(connection: Any, sums: Any) -> None:
        async with databases[0].transaction() as own:
            await real_add(own, sums)

    Recorder.record = remember  # type: ignore[method-assign]
    record.add_sums = add_sums


def answer_before_append() -> None:
    """A record is acknowledged while it is still on its way to the event log."""
    real = Acceptance._store

    async def store(acceptance: Any, *arguments: Any) -> None:
        task = asyncio.create_task(real(acceptance, *arguments))
        _waiting.add(task)
        task.add_done_callback(_waiting.discard)

    Acceptance._store = store  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (move_position_apart, add_sums_apart, answer_before_append)
}
