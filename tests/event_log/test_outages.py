"""Servers and processes that are killed, frozen and started again: nothing acknowledged is lost."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from shared.errors import UnavailableError
from shared.event_log import EventLog, Slice
from tests.conftest import StartServer
from tests.event_log.conftest import OpenLog
from tests.event_log.processes import kill_and_read_rest, member, read_lines
from tests.event_log.reading import consuming, eventually, read_all
from tests.event_log.results import Results, doubles, numbered, values_of
from tests.event_log.servers import log_address, open_log_at, prepare_log
from tests.servers.server import Server

TIMEOUT = timedelta(seconds=2)
OpenOwnLog = Callable[[], Awaitable[EventLog]]


@pytest.fixture
def server(kind: str, own_server: StartServer) -> Server:
    return own_server(kind)


@pytest.fixture
async def open_own_log(kind: str, server: Server) -> AsyncIterator[OpenOwnLog]:
    await prepare_log(kind, log_address(kind, server))
    async with AsyncExitStack() as stack:

        async def open_one() -> EventLog:
            log = await open_log_at(kind, log_address(kind, server), append_timeout=TIMEOUT)
            stack.push_async_callback(log.close)
            await log.ensure_topics({"topic": 3})
            return log

        yield open_one


@dataclass
class Outcome:
    """What the callers were told."""

    acknowledged: list[bytes] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)
    slowest_seconds: float = 0.0


async def append_until(log: EventLog, stop: asyncio.Event, outcome: Outcome, first: int) -> None:
    """One caller that appends without pause and notes what it was told."""
    n = first
    while not stop.is_set():
        (record,) = numbered(1, keys=20, start=n)
        n += 10
        started = time.monotonic()
        try:
            await log.append("topic", [record])
        except UnavailableError:
            outcome.refused.append(record.value)
            await asyncio.sleep(0.01)
        else:
            outcome.acknowledged.append(record.value)
        outcome.slowest_seconds = max(outcome.slowest_seconds, time.monotonic() - started)


async def wait_for_more(values: list[bytes], count: int, seconds: float) -> None:
    """Wait until so many more were noted."""
    goal = len(values) + count
    await eventually(lambda: len(values) >= goal, seconds)


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_appends_fail_in_time_and_work_again_by_themselves(
    open_own_log: OpenOwnLog, server: Server, results: Results, how: str
) -> None:
    log = await open_own_log()
    outcome, stop = Outcome(), asyncio.Event()

    async def apply(part: Slice) -> None:
        await results.apply("group", part)

    async with consuming(log, "group", "topic", results.positions, apply):
        callers = [asyncio.create_task(append_until(log, stop, outcome, first)) for first in range(10)]
        await wait_for_more(outcome.acknowledged, 100, seconds=20)
        await asyncio.to_thread(server.kill if how == "killed" else server.pause)
        await wait_for_more(outcome.refused, 30, seconds=20)
        await asyncio.to_thread(server.start if how == "killed" else server.resume)
        await wait_for_more(outcome.acknowledged, 100, seconds=30)
        stop.set()
        await asyncio.gather(*callers)
        applied = await results.wait_for("group", outcome.acknowledged, seconds=40)
    assert outcome.slowest_seconds < TIMEOUT.total_seconds() + 1.5
    stored = values_of(await read_all(log, "topic"))  # type: ignore[arg-type]  # both have values
    assert set(outcome.acknowledged) <= set(stored)
    assert sorted(doubles(applied)) == sorted(doubles(stored))


async def test_a_short_outage_is_ridden_out(open_own_log: OpenOwnLog, server: Server) -> None:
    log = await open_own_log()
    await log.append("topic", numbered(1))
    await asyncio.to_thread(server.pause)
    appending = asyncio.create_task(log.append("topic", numbered(1, start=1)))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(server.resume)
    assert len(await appending) == 1


async def test_what_was_refused_while_the_server_was_down_does_not_turn_up_later(
    open_own_log: OpenOwnLog, server: Server
) -> None:
    log = await open_own_log()
    await log.append("topic", numbered(10))
    await asyncio.to_thread(server.kill)
    refused = numbered(20, keys=20, start=10)
    outcomes = await asyncio.gather(
        *(log.append("topic", [record]) for record in refused), return_exceptions=True
    )
    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(UnavailableError):
                await log.append("topic", numbered(1, start=100))
                break
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    stored = values_of(await read_all(log, "topic"))  # type: ignore[arg-type]  # both have values
    assert set(stored) == {*values_of(numbered(10)), *values_of(numbered(1, start=100))}


async def test_a_log_opens_only_when_its_server_answers(
    kind: str, open_own_log: OpenOwnLog, server: Server
) -> None:
    log = await open_own_log()
    await log.ping()
    await asyncio.to_thread(server.kill)
    with pytest.raises(UnavailableError):
        await log.ping()
    with pytest.raises(UnavailableError):
        await log.ends("topic")
    with pytest.raises(UnavailableError):
        await open_log_at(kind, log_address(kind, server))
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(UnavailableError):
                await log.ping()
                assert await log.ends("topic") == {0: 0, 1: 0, 2: 0}
                break
            await asyncio.sleep(0.05)


async def test_a_tail_outlives_an_outage_without_a_gap(open_own_log: OpenOwnLog, server: Server) -> None:
    log = await open_own_log()
    found: list[bytes] = []

    async def follow() -> None:
        async with log.tail("topic") as records:
            following.set()
            async for record in records:
                found.extend(filter(None, [record.value]))

    following = asyncio.Event()
    task = asyncio.create_task(follow())
    await following.wait()
    await log.append("topic", numbered(10))
    await wait_for_more(found, 10 - len(found), seconds=15)
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(1)
    await asyncio.to_thread(server.start)
    other = await open_log_again(open_own_log)
    await other.append("topic", numbered(10, start=10))
    await wait_for_more(found, 20 - len(found), seconds=30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert sorted(found) == sorted(values_of(numbered(20)))


async def open_log_again(open_own_log: OpenOwnLog) -> EventLog:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(UnavailableError):
                return await open_own_log()
            await asyncio.sleep(0.05)


async def test_closing_during_an_outage_ends(open_own_log: OpenOwnLog, server: Server) -> None:
    log = await open_own_log()
    await log.append("topic", numbered(10))
    await asyncio.to_thread(server.pause)
    appends = [asyncio.create_task(log.append("topic", [record])) for record in numbered(5)]
    await asyncio.sleep(0.1)
    async with asyncio.timeout(20):
        await log.close()
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
    await asyncio.to_thread(server.resume)


async def test_a_killed_process_loses_nothing_that_it_acknowledged(
    open_log: OpenLog, kind: str, address: str, topic: str
) -> None:
    async with member("append", kind, address, topic) as process:
        acknowledged = await read_lines(process, 200)
        acknowledged += await kill_and_read_rest(process)
    log = await open_log()
    stored = values_of(await read_all(log, topic))  # type: ignore[arg-type]  # both have values
    assert {value.encode() for value in acknowledged} <= set(stored)


async def test_a_killed_durable_server_loses_nothing_that_it_acknowledged(
    kind: str, open_own_log: OpenOwnLog, server: Server
) -> None:
    await open_own_log()
    async with member("append", kind, log_address(kind, server), "topic") as process:
        acknowledged = await read_lines(process, 200)
        await asyncio.to_thread(server.kill)
        acknowledged += await kill_and_read_rest(process)
    await asyncio.to_thread(server.start)
    log = await open_log_again(open_own_log)
    stored = values_of(await read_all(log, "topic"))  # type: ignore[arg-type]  # both have values
    assert {value.encode() for value in acknowledged} <= set(stored)
