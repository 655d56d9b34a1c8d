"""The issuer as it runs: a member of its group on a real event log."""

import asyncio
import time

import msgspec
import pytest

from shared.contracts.topics import USAGE_DEAD, USAGE_RATED
from shared.errors import UnavailableError
from shared.event_log.port import EventLog, Position, Record
from tests.receipts.event_log import read_all
from tests.receipts.house import A, B, House, Street, a_rated


async def append(event_log: EventLog, *values: object) -> None:
    records = [
        Record(
            str(getattr(value, "account_id", A)).encode(),
            value if isinstance(value, bytes) else msgspec.json.encode(value),
        )
        for value in values
    ]
    await event_log.append(USAGE_RATED, records)


async def wait_for(house: House, count: int, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while len(await house.payloads(A)) + len(await house.payloads(B)) < count:
        assert time.monotonic() < until, "the issuer is late"
        await asyncio.sleep(0.05)


class Running:
    """A house's workers, until the block ends."""

    def __init__(self, house: House) -> None:
        self._stop = asyncio.Event()
        self._house = house

    async def __aenter__(self) -> None:
        self._tasks = [
            asyncio.ensure_future(worker.run(self._stop)) for worker in self._house.service.workers
        ]

    async def __aexit__(self, *exc: object) -> None:
        self._stop.set()
        await asyncio.wait_for(asyncio.gather(*self._tasks), 20)


async def test_what_was_rated_before_the_first_start_is_receipted(house: House) -> None:
    rated = [a_rated(A if n % 2 else B) for n in range(60)]
    await append(house.event_log, *rated, b"\xff", *rated[:10])
    async with Running(house):
        await wait_for(house, 60)
        dead = await read_all(house.event_log, USAGE_DEAD, wait_for=1)
    assert (await house.numbers(A), await house.numbers(B)) == (list(range(1, 31)), list(range(1, 31)))
    assert [record.value for record in dead] == [b"\xff"]


async def test_a_restart_goes_on_where_it_stopped(street: Street) -> None:
    house = await street.open_house()
    for _ in range(3):
        await append(house.event_log, *(a_rated() for _ in range(20)))
        before = len(await house.payloads())
        async with Running(await street.open_house()):
            await wait_for(house, before + 20)
    assert await house.numbers() == list(range(1, 61))


async def test_two_members_share_the_work_and_double_nothing(street: Street) -> None:
    one, other = await street.open_house(), await street.open_house()
    async with Running(one), Running(other):
        for _ in range(10):
            await append(one.event_log, *(a_rated(A if n % 2 else B) for n in range(20)))
        await wait_for(one, 200)
    assert (await one.numbers(A), await one.numbers(B)) == (list(range(1, 101)), list(range(1, 101)))


async def test_an_outage_delays_receipts_and_loses_none(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_really = house.event_log.append
    calls = 0

    async def fail_twice(topic: str, records: list[Record]) -> list[Position]:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise UnavailableError("away")
        return await append_really(topic, records)

    await append(house.event_log, *(a_rated() for _ in range(20)))
    monkeypatch.setattr(house.event_log, "append", fail_twice)
    async with Running(house):
        await wait_for(house, 20)
    assert await house.numbers() == list(range(1, 21))
    assert calls >= 3
