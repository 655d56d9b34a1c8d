"""Case P28: what can never be processed holds nobody up, is kept with its reason, and can be replayed."""

import asyncio
import json
import random
from typing import Any

import msgspec
import pytest

from shared.contracts.topics import USAGE_LOGGED, USAGE_RATED
from shared.contracts.usage import UsageLogged, UsageRated
from shared.errors import UnavailableError
from shared.event_log.port import EventLog, Position, Record
from shared.event_log.replay import DeadLetter, open_dead_letters
from tests.operations.works import NOW, A, Works, an_event

encoder = msgspec.json.Encoder()


def altered(**changes: Any) -> bytes:
    """A good event with something in it that our own encoder would refuse."""
    facts = json.loads(encoder.encode(an_event()))
    return json.dumps(facts | changes).encode()


POISON = {
    "no UTF-8": b"\xff\xfe",
    "an empty value": b"",
    "a list": b"[]",
    "another version": altered(v=99),
    "a NUL": altered(alias="a\0b"),
    "a number without bounds": altered(input_tokens=99999999999999999999),
    "nothing that was sent": None,
}

NEIGHBOURS = {
    "half an object": b'{"v": 1',
    "a lone surrogate": altered(alias="x").replace(b'"x"', b'"x\\ud83d"'),
    "metadata that is no UTF-8": altered(metadata={"a": "x"}).replace(b'"x"', b'"\xff"'),
    "not a number": altered(latency_ms=1).replace(b'"latency_ms": 1', b'"latency_ms": NaN'),
    "a negative count": altered(output_tokens=-5),
    "a true count": altered(output_tokens=True),
    "a number of 64 bits": altered(latency_ms=2**62),
    "a client's cost below nothing": altered(client_cost="-1"),
    "a client's cost that is no number": altered(client_cost="cheap"),
    "no time zone": altered(occurred_at="2031-05-03T12:00:00"),
    "a time before the calendar": altered(occurred_at="0001-01-01T00:00:00+14:00"),
    "the first instant of the calendar": altered(occurred_at="0001-01-01T00:00:00Z"),
    "the last instant of the calendar": altered(received_at="9999-12-31T23:59:59.999999Z"),
    "a version that is a path": altered(registry_version="../../../etc/passwd"),
    "a version that is a line": altered(registry_version="2031.05.01\r\nX-A: b"),
    "a digest that is none": altered(body_digest="AAAA"),
    "a thousand levels": altered(metadata=0).replace(
        b'"metadata": 0', b'"metadata": ' + b"[" * 9000 + b"]" * 9000
    ),
    "more than can be passed on": altered(metadata={"a": "x" * 996_000}),
}


async def letters_of(works: Works) -> list[DeadLetter]:
    async with open_dead_letters(works.event_log) as letters:
        return [letter async for letter in letters]


async def append_poison(works: Works, values: dict[str, bytes | None], topic: str = USAGE_LOGGED) -> None:
    """As a foreign producer would; the port itself has no way to leave a value out."""
    for value in values.values():
        if value is None and works.kind == "kafka":
            from aiokafka import AIOKafkaProducer

            producer: Any = AIOKafkaProducer(bootstrap_servers=works.address)  # type: ignore[no-untyped-call]  # the library is not typed
            await producer.start()
            await producer.send_and_wait(topic, key=str(A).encode(), value=None, headers=[("empty", None)])
            await producer.stop()
        else:
            await works.event_log.append(topic, [Record(str(A).encode(), value or b"")])


async def test_seven_poison_records_hold_nobody_up(works: Works) -> None:
    await append_poison(works, POISON)
    await works.accept(*(an_event(number) for number in range(100)))
    async with works.rating():
        await works.wait_until_rated(seconds=10)
    assert await works.fetchval("SELECT count(*) FROM usage.logs") == 100
    assert await works.fetchval("SELECT sum(requests) FROM usage.rollups WHERE grain = 'd'") == 100
    letters = await letters_of(works)
    assert [letter.source and letter.source.offset for letter in letters] == list(range(7))
    assert [letter.record.value for letter in letters] == [value or b"" for value in POISON.values()]
    assert all(letter.reason for letter in letters)
    assert all(letter.source and letter.source.topic == USAGE_LOGGED for letter in letters)


async def test_nothing_else_that_a_foreign_producer_can_write_holds_anybody_up(works: Works) -> None:
    await append_poison(works, NEIGHBOURS)
    await works.accept(*(an_event(number) for number in range(20)))
    async with works.rating():
        await works.wait_until_rated(seconds=10)
    assert await works.fetchval("SELECT count(*) FROM usage.logs") == 20
    assert len(await letters_of(works)) == len(NEIGHBOURS)


async def test_the_issuer_sets_poison_aside_as_well(works: Works) -> None:
    strange = {
        "metadata that is no object": altered(metadata=[1], rated_at=NOW.isoformat()),
        "a number that has no canonical form": altered(input_tokens=2**60, rated_at=NOW.isoformat()),
        "more than can be passed on": altered(metadata={"a": "x" * 996_000}, rated_at=NOW.isoformat()),
        "no rating time": altered(),
    }
    await append_poison(works, POISON | strange, USAGE_RATED)
    await works.accept(*(an_event(number) for number in range(20)))
    await works.work_off()
    assert await works.fetchval("SELECT count(*) FROM receipts.receipts") == 20
    letters = await letters_of(works)
    assert len(letters) == len(POISON) + len(strange)
    assert all(letter.source and letter.source.topic == USAGE_RATED for letter in letters)


@pytest.mark.parametrize("kind", ["postgres"])
async def test_the_longest_names_that_a_caller_may_use_are_counted(works: Works) -> None:
    """Four names of 255 characters of four bytes are more than an index entry has room for."""
    chance = random.Random(28)

    def name() -> str:
        return "".join(chr(chance.randrange(0x1F300, 0x1FAFF)) for _ in range(255))

    unknown: dict[str, Any] = {
        "model_key": None,
        "cost": None,
        "calculated_cost": None,
        "calculated_status": "model_not_in_registry",
        "cost_status": "model_not_in_registry",
        "cost_breakdown": [],
    }
    await works.accept(an_event(provider=name(), model=name(), alias=name(), origin=name(), **unknown))
    await works.work_off()
    assert await works.fetchval("SELECT sum(requests) FROM usage.rollups WHERE grain = 'q'") == 1
    assert await works.fetchval("SELECT count(*) FROM receipts.receipts") == 1


@pytest.mark.parametrize("kind", ["postgres"])
async def test_an_outage_sets_nothing_aside_however_long_it_lasts(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append_poison(works, {"no UTF-8": b"\xff"})
    await works.accept(an_event())
    attempts = 0

    class Away:
        def transaction(self) -> Any:
            nonlocal attempts
            attempts += 1
            raise UnavailableError("The database is not available at the moment.")

    database, works.recorder._database = works.recorder._database, Away()  # type: ignore[assignment]  # stands in its place
    async with works.rating():
        async with asyncio.timeout(20):
            while attempts < 5:  # noqa: ASYNC110 - a failed attempt rings no bell
                await asyncio.sleep(0.02)
        assert await letters_of(works) == []
        works.recorder._database = database
        await works.wait_until_rated()
    assert len(await letters_of(works)) == 1


@pytest.mark.parametrize("kind", ["postgres"])
async def test_a_slice_that_is_repeated_sets_its_poison_aside_once_for_whoever_looks(works: Works) -> None:
    class Faltering:
        """The first answer to an append of rated records is lost."""

        def __init__(self, log: EventLog) -> None:
            self._log = log
            self.lost = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._log, name)

        async def append(self, topic: str, records: list[Record]) -> list[Position]:
            positions = await self._log.append(topic, records)
            if topic == USAGE_RATED and self.lost < 3:
                self.lost += 1
                raise UnavailableError("no answer")
            return positions

    await append_poison(works, {"no UTF-8": b"\xff"})
    await works.accept(an_event())
    works.recorder._event_log = Faltering(works.event_log)  # type: ignore[assignment]  # stands in its place
    async with works.rating():
        await works.wait_until_rated()
    assert (await works.event_log.ends("usage.dead"))[0] == 4
    assert len(await letters_of(works)) == 1


def test_a_rated_event_has_every_field_of_an_accepted_one() -> None:
    assert set(UsageRated.__struct_fields__) == {
        *UsageLogged.__struct_fields__,
        "rated_at",
        "registry_digest",
    }
