"""What a lane promises, whatever stands behind it."""

import asyncio
import time
from datetime import timedelta

import pytest

from shared.errors import TooLargeError, UnavailableError
from shared.event_log import MAX_RECORD_BYTES, Position, Record
from shared.event_log.lane import MAX_WAITING_BYTES, Append, Lane, measure


class Shelf:
    """Stores in a list; can be slow, away, or offended by a certain value."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.away = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def store(self, appends: list[Append[str]]) -> None:
        if self.away:
            raise UnavailableError("away")
        values = [record.value for append in appends for record in append.records]
        await self.go_on.wait()
        if b"offence" in values:
            raise ValueError("offence")
        self.batches.append(values)
        for append in appends:
            append.resolve([Position(0, 0)] * len(append.records))

    async def probe(self) -> None:
        if self.away:
            raise UnavailableError("still away")

    def stored(self) -> list[bytes]:
        return [value for batch in self.batches for value in batch]


def lane_to(shelf: Shelf, seconds: float = 1) -> Lane[str]:
    return Lane("test", shelf.store, shelf.probe, timedelta(seconds=seconds))


def put(lane: Lane[str], value: bytes, count: int = 1) -> "asyncio.Future[list[Position]]":
    records = [Record(b"key", value)] * count
    return lane.put("target", records, measure(records))


async def test_whoever_comes_while_a_batch_is_stored_rides_in_the_next() -> None:
    shelf = Shelf()
    lane = lane_to(shelf)
    shelf.go_on.clear()
    first = put(lane, b"0")
    await asyncio.sleep(0.01)
    rest = [put(lane, str(n).encode()) for n in range(1, 50)]
    shelf.go_on.set()
    await asyncio.gather(first, *rest)
    assert [len(batch) for batch in shelf.batches] == [1, 49]
    assert shelf.stored() == [str(n).encode() for n in range(50)]
    await lane.close()


async def test_a_batch_has_a_limit_and_an_append_is_never_torn() -> None:
    shelf = Shelf()
    lane = lane_to(shelf)
    shelf.go_on.clear()
    puts = [put(lane, b"x")]
    await asyncio.sleep(0.01)
    puts += [put(lane, b"x", 700), put(lane, b"y", 700), put(lane, b"z", 2000), put(lane, b"w", 3)]
    shelf.go_on.set()
    await asyncio.gather(*puts)
    assert [len(batch) for batch in shelf.batches] == [1, 700, 700, 2000, 3]
    await lane.close()


async def test_one_caller_at_fault_does_not_take_the_others_along() -> None:
    shelf = Shelf()
    lane = lane_to(shelf)
    outcomes = await asyncio.gather(
        *(put(lane, value) for value in (b"a", b"offence", b"b")), return_exceptions=True
    )
    assert isinstance(outcomes[1], ValueError)
    assert shelf.stored() == [b"a", b"b"]
    await lane.close()


async def test_a_wait_ends_in_time_even_when_the_store_hangs() -> None:
    shelf = Shelf()
    lane = lane_to(shelf, seconds=0.3)
    shelf.go_on.clear()
    started = time.monotonic()
    in_flight = put(lane, b"in flight")
    await asyncio.sleep(0.05)
    outcomes = await asyncio.gather(in_flight, put(lane, b"waiting"), return_exceptions=True)
    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
    assert time.monotonic() - started < 1
    shelf.go_on.set()
    await lane.close()
    assert shelf.stored() == [b"in flight"]


async def test_after_a_long_outage_callers_are_refused_at_once_until_the_store_is_back() -> None:
    shelf = Shelf()
    lane = lane_to(shelf, seconds=0.3)
    shelf.away = True
    with pytest.raises(UnavailableError):
        await put(lane, b"1")
    await asyncio.sleep(0.2)
    with pytest.raises(UnavailableError):
        put(lane, b"2")
    shelf.away = False
    await asyncio.sleep(0.3)
    await put(lane, b"3")
    assert shelf.stored() == [b"3"]
    await lane.close()


async def test_what_waits_has_a_limit() -> None:
    shelf = Shelf()
    lane = lane_to(shelf, seconds=0.3)
    shelf.go_on.clear()
    value = bytes(MAX_RECORD_BYTES - 3)
    waiting = [put(lane, value) for _ in range(MAX_WAITING_BYTES // MAX_RECORD_BYTES)]
    with pytest.raises(UnavailableError, match="keep up"):
        put(lane, value)
    await asyncio.gather(*waiting, return_exceptions=True)
    shelf.go_on.set()
    await asyncio.sleep(0.01)
    await put(lane, b"small")
    await lane.close()


async def test_closing_twice_is_closing_once() -> None:
    lane = lane_to(Shelf())
    await put(lane, b"1")
    await lane.close()
    await lane.close()
    with pytest.raises(UnavailableError):
        put(lane, b"2")


def test_a_record_is_measured_with_its_key_and_headers() -> None:
    assert measure([Record(b"12", b"345", (("ab", b"c"),)), Record(b"", b"")]) == 8
    with pytest.raises(TooLargeError):
        measure([Record(b"1", bytes(MAX_RECORD_BYTES))])
