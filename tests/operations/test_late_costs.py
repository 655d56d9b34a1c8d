"""Costs that were unknown at acceptance and are found later: once, and never where one is known."""

import asyncio
import json
import random
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest

from services.audit.findings import Findings, Kind
from services.ingest.presence import Presence
from services.ingest.price_late import LatePricing, Tally, read_cursor, write_cursor
from services.ingest.record import Recorder
from services.ingest.selection import UnpricedQuery
from services.ingest.store.unpriced import Place
from shared.clock import FixedClock
from shared.contracts.receipts import ReceiptIssued
from shared.contracts.topics import RECEIPTS_ISSUED, USAGE_DEAD, USAGE_LOGGED, USAGE_RATED
from shared.contracts.usage import UsageLogged, UsageRated
from shared.errors import InvalidFieldError, UnavailableError
from shared.event_log.port import EventLog, Position, Record
from shared.pricebook.pricebook import Pricebook
from tests.event_log.reading import read_all
from tests.operations.test_rebuild import EMPTY_ALL, rebuild
from tests.operations.works import NOW, A, B, C, Works, an_event
from tests.pricebook.registry import ARegistry

ON_POSTGRES = pytest.mark.parametrize("kind", ["postgres"])
DAY = timedelta(days=1)
EVERYTHING = UnpricedQuery(NOW - 400 * DAY, NOW + DAY)
KNOWN = {f"openai:m-{number}": ("1", "2") for number in range(3)}
PRICED_VERSION = "2031.05.01"
ROWS = "SELECT to_jsonb(l)::text FROM usage.logs l WHERE log_id = ANY($1) ORDER BY log_id"


def unpriced(number: int = 0, account_id: UUID = A, model: str = "new", **changes: Any) -> UsageLogged:
    """A record that the version of its time did not know."""
    nothing: dict[str, Any] = {
        "model_key": None,
        "calculated_cost": None,
        "calculated_status": "model_not_in_registry",
        "cost": None,
        "cost_status": "model_not_in_registry",
        "cost_breakdown": [],
    }
    return an_event(number, account_id, model=model, **{**nothing, **changes})


class Late(NamedTuple):
    """Works whose prices come from a registry of their own, and what finds costs later."""

    works: Works
    registry: ARegistry
    pricing: LatePricing

    async def run(
        self,
        query: UnpricedQuery = EVERYTHING,
        *,
        dry_run: bool = False,
        version: str | None = None,
        limit: int = 7,
    ) -> Tally:
        """Price a whole range, part by part; each part goes on at the cursor of the one before."""
        tally = Tally()
        after: Place | None = None
        while True:
            part = await self.pricing.price_part(
                query, tally, version=version, dry_run=dry_run, after=after, limit=limit
            )
            if part.following is None:
                return tally
            after = read_cursor(write_cursor(part.following))

    async def rows(self, *log_ids: UUID) -> list[dict[str, Any]]:
        """Some rows as they are."""
        found = await self.works.fetch(ROWS, list(log_ids))
        return [json.loads(row[0], parse_float=Decimal, parse_int=Decimal) for row in found]

    async def receipts(self, log_id: UUID) -> list[dict[str, Any]]:
        """The payloads of a record's receipts, the first one first."""
        found = await self.works.fetch(
            "SELECT payload FROM receipts.receipts WHERE log_id = $1 ORDER BY account_sequence", log_id
        )
        return [json.loads(row[0]) for row in found]

    async def contents(self) -> dict[str, list[str]]:
        """All that a replay of the topic must bring back."""
        tables = ("logs", "rollups", "latency_rollups", "claims")
        return {
            table: [
                row[0]
                for row in await self.works.fetch(f"SELECT each::text FROM usage.{table} AS each ORDER BY 1")
            ]
            for table in tables
        }

    async def check(self) -> Findings:
        """Everything adds up, by every way there is to tell."""
        outcome, differences = await rebuild(self.works, only_check=True)
        assert differences == []
        findings = await self.works.verify()
        assert findings.is_clean, findings.told
        assert outcome.accounts
        return findings


@pytest.fixture
async def late(works: Works) -> Late:
    registry = ARegistry()
    registry.publish(PRICED_VERSION, NOW - 300 * DAY, KNOWN)
    pricebook = Pricebook(registry)  # type: ignore[arg-type]  # stands in its place
    works.pricebook = pricebook  # type: ignore[assignment]  # of these prices
    works.recorder = Recorder(
        database=works.database,
        event_log=works.event_log,
        positions=works.rater_positions,
        pricebook=pricebook,
        watermark=None,
        clock=FixedClock(NOW),
        follow_records=True,
    )
    return Late(works, registry, pricing_of(works, pricebook))


def pricing_of(works: Works, pricebook: Pricebook, event_log: EventLog | None = None) -> LatePricing:
    return LatePricing(
        database=works.database,
        presence=Presence(works.database),
        event_log=event_log or works.event_log,
        pricebook=pricebook,
        clock=FixedClock(NOW),
        watermark=None,
    )


async def test_a_cost_that_is_found_later_reaches_row_sums_topic_and_receipt(late: Late) -> None:
    record = unpriced(3, latency_ms=777, metadata=msgspec.Raw(b'{"a": [1, "\\u00e9"]}'))
    given = unpriced(4, client_cost="0.5", cost="0.5", cost_status="client")
    usual = an_event(5)
    await late.works.accept(record, given, usual)
    await late.works.work_off()
    before = await late.rows(given.log_id, usual.log_id)
    late.registry.publish("2031.05.03", NOW, {**KNOWN, "openai:new": ("3", "15")})

    tally = await late.run(dry_run=True)
    await late.works.work_off()
    assert (tally.examined, tally.priced, tally.cost) == (1, 1, Decimal("0.004554"))
    assert (await late.rows(record.log_id))[0]["cost"] is None
    assert (await late.run()).records == {("openai:new", "2031.05.03"): 1}
    await late.works.work_off()

    [row] = await late.rows(record.log_id)
    assert row["cost"] == row["calculated_cost"] == Decimal("0.004554")
    assert (row["cost_status"], row["calculated_status"]) == ("priced", "priced")
    assert (row["registry_version"], row["model_key"]) == ("2031.05.03", "openai:new")
    assert row["repriced_at"] == "2031-05-03T12:00:00+00:00"
    assert len(json.loads(row["cost_breakdown"])) == 2
    assert await late.rows(given.log_id, usual.log_id) == before
    first, second = await late.receipts(record.log_id)
    assert (first["cost"], second["cost"]) == (None, "0.004554")
    assert "supersedes" not in first
    assert second["supersedes"] == first["receipt_id"]
    assert second["account_sequence"] == 4
    assert second["metadata_digest"] == first["metadata_digest"]
    assert len(await late.receipts(given.log_id)) == len(await late.receipts(usual.log_id)) == 1
    rated = [
        msgspec.json.decode(each.value or b"", type=UsageRated)
        for each in await read_all(late.works.event_log, USAGE_RATED)
    ]
    assert [each.repriced_at for each in rated if each.log_id == record.log_id] == [None, NOW]
    issued = [
        msgspec.json.decode(each.value or b"", type=ReceiptIssued)
        for each in await read_all(late.works.event_log, RECEIPTS_ISSUED)
    ]
    named = {str(each.receipt_id): each.supersedes and str(each.supersedes) for each in issued}
    assert named[second["receipt_id"]] == first["receipt_id"]
    assert named[first["receipt_id"]] is None
    assert (await late.check()).stored == 3

    again = await late.run()
    assert (again.examined, again.priced) == (0, 0)


@ON_POSTGRES
async def test_the_version_of_the_records_own_time_goes_before_the_one_in_force_now(late: Late) -> None:
    old, older, gone, tier = (
        unpriced(0, occurred_at=NOW - 10 * DAY),
        unpriced(1, occurred_at=NOW - 30 * DAY),
        unpriced(2, model="gone", occurred_at=NOW - 10 * DAY),
        unpriced(3, service_tier="batch", calculated_status="no_pricing_for_tier"),
    )
    await late.works.accept(old, older, gone, tier)
    await late.works.work_off()
    # One version corrects the past from a day on; the one in force now has another price, and one model less.
    late.registry.publish(
        "2031.05.02", NOW - 20 * DAY, {"openai:new": ("3", "15"), "openai:gone": ("4", "4")}
    )
    late.registry.publish("2031.05.03", NOW - DAY, {"openai:new": ("5", "25")})
    tally = await late.run()
    assert tally.records == {
        ("openai:new", "2031.05.02"): 1,
        ("openai:new", "2031.05.03"): 1,
        ("openai:gone", "2031.05.02"): 1,
    }
    assert tally.unpriced == {("openai", "new", "no_pricing_for_tier"): 1}
    await late.works.work_off()
    [row] = await late.rows(older.log_id)
    assert (row["registry_version"], row["cost"]) == ("2031.05.03", Decimal("0.007530"))
    await late.check()


@ON_POSTGRES
async def test_what_to_price_and_with_what_can_be_chosen(late: Late) -> None:
    records = [
        unpriced(
            number, (A, B)[number % 2], ("new", "other")[number // 2 % 2], occurred_at=NOW - number * DAY
        )
        for number in range(12)
    ]
    await late.works.accept(*records)
    await late.works.work_off()
    prices = {"openai:new": ("3", "15"), "openai:other": ("1", "1")}
    late.registry.publish("2031.05.03", NOW - 400 * DAY, prices)
    late.registry.publish("2031.05.03.2", NOW + DAY, {"openai:new": ("6", "30")})

    async def count(version: str | None = None, **changes: Any) -> int:
        return (await late.run(EVERYTHING._replace(**changes), dry_run=True, version=version)).priced

    assert await count() == 12
    assert await count(account_id=B) == 6
    assert await count(account_id=C) == 0
    assert await count(model="new") == await count(model="openai:new") == 6
    assert await count(model="ne") == 0
    assert await count(start_at=NOW - 3 * DAY, end_at=NOW - DAY) == 2  # half-open
    assert await count("2031.05.03.2") == 6
    for version in ("2031.05.04", "soon", "../registry"):
        with pytest.raises(InvalidFieldError, match="registry_version"):
            await count(version)
    assert (
        await late.run(EVERYTHING._replace(account_id=A, model="new"), version="2031.05.03.2")
    ).priced == 3
    await late.works.work_off()
    found = await late.works.fetch("SELECT log_id FROM usage.logs WHERE registry_version = '2031.05.03.2'")
    assert {UUID(int=row[0].int) for row in found} == {
        each.log_id for each in records if each.account_id == A and each.model == "new"
    }
    await late.check()


def many(chance: random.Random, count: int) -> list[UsageLogged]:
    """Records with and without costs, of few models, accounts, days and latencies."""
    made = []
    for number in range(count):
        account = chance.choice([A, B, C])
        at = NOW - timedelta(minutes=chance.randrange(4_000))
        latency = chance.choice([None, 0, 90, 5_000])
        kind = chance.random()
        if kind < 0.5:
            model = chance.choice(["new", "other", "never", "m-9"])
            made.append(unpriced(number, account, model, occurred_at=at, latency_ms=latency))
        elif kind < 0.7:
            made.append(unpriced(number, account, client_cost="0.1", cost="0.1", cost_status="client"))
        else:
            made.append(an_event(number, account, occurred_at=at, latency_ms=latency))
    return made


PRICES = {**KNOWN, "openai:new": ("3", "15"), "openai:other": ("0.1", "0.7")}


async def publish_with_aliases(late: Late) -> None:
    """`other` and `m-9` resolve to one key, so that their records change what statistics count them under."""
    late.registry.publish("2031.05.03", NOW - 300 * DAY, PRICES, aliases={"openai:other": ["m-9"]})


async def test_sums_are_the_same_live_and_from_the_topic(late: Late) -> None:
    chance = random.Random(11)
    records = many(chance, 300)
    await late.works.accept(*records)
    await late.works.work_off()
    await publish_with_aliases(late)
    half = await late.run(EVERYTHING._replace(end_at=NOW - DAY))
    await late.works.accept(*many(chance, 100))
    await late.works.work_off()
    rest = await late.run()
    await late.works.work_off()
    assert half.priced > 20 < rest.priced
    await late.check()
    groups = await late.works.fetch("SELECT DISTINCT model_group FROM usage.rollups")
    assert {row[0] for row in groups} >= {"openai:other", "openai:never"}
    assert "openai:m-9" not in {row[0] for row in groups}

    live = await late.contents()
    receipts = await late.works.fetchval("SELECT count(*) FROM receipts.receipts")
    await late.works.fetch(EMPTY_ALL)
    await late.works.work_off()  # one rater from the first offset on, in slices as they come
    assert await late.contents() == live
    assert await late.works.fetchval("SELECT count(*) FROM receipts.receipts") == receipts
    await late.check()


@ON_POSTGRES
async def test_twice_and_two_at_once_beside_a_rater_at_work_count_once(late: Late) -> None:
    chance = random.Random(12)
    await late.works.accept(*many(chance, 150))
    async with late.works.rating(), late.works.issuing():
        await late.works.wait_until_rated()
        await publish_with_aliases(late)
        # Priced by two versions at once: the one whose event comes first is right, and the other is nothing.
        late.registry.publish("2031.05.03.2", NOW - 300 * DAY, {"openai:new": ("9", "9")})

        async def log_on() -> None:
            for _ in range(10):
                await late.works.accept(*many(chance, 15))

        await asyncio.gather(
            late.run(), late.run(version="2031.05.03"), late.run(version="2031.05.03.2"), log_on()
        )
        await late.works.wait_until_rated()
        await late.run(version="2031.05.03")
        await late.works.wait_until_rated()
    await late.works.work_off()
    assert (await late.run(version="2031.05.03")).priced == 0
    findings = await late.check()
    assert findings.stored == 300
    doubled = await late.works.fetchval(
        "SELECT count(*) FROM (SELECT 1 FROM receipts.receipts GROUP BY log_id, revision HAVING count(*) > 1)"
        " AS doubled"
    )
    assert doubled == 0
    told = Counter(
        (event.log_id, event.repriced_at is None)
        for each in await read_all(late.works.event_log, USAGE_RATED)
        if (event := msgspec.json.decode(each.value or b"", type=UsageRated))
    )
    assert max(told.values()) == 1


class BreakingLog:
    """An event log that breaks off at the third append to `usage.logged`, after it was stored."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.left = 2

    async def append(self, topic: str, records: list[Record]) -> list[Position]:
        positions = await self._log.append(topic, records)
        if self.left == 0:
            raise UnavailableError("The event log did not confirm the record in time.")
        self.left -= 1
        return positions


@ON_POSTGRES
async def test_to_break_off_in_the_middle_loses_nothing_and_doubles_nothing(late: Late) -> None:
    records = [unpriced(number, (A, B, C)[number % 3]) for number in range(40)]
    await late.works.accept(*records)
    await late.works.work_off()
    late.registry.publish("2031.05.03", NOW, {"openai:new": ("3", "15")})
    breaking = pricing_of(late.works, late.works.pricebook, BreakingLog(late.works.event_log))  # type: ignore[arg-type]  # stand in their places
    with pytest.raises(UnavailableError):
        await late._replace(pricing=breaking).run()
    await late.works.work_off()
    assert await late.works.fetchval("SELECT count(*) FROM usage.logs WHERE cost IS NOT NULL") == 21
    await late.check()
    assert (await late.run()).priced == 19
    await late.works.work_off()
    assert await late.works.fetchval("SELECT count(*) FROM usage.logs WHERE cost IS NULL") == 0
    await late.check()


@ON_POSTGRES
async def test_events_that_claim_too_much_are_set_aside(late: Late) -> None:
    record, known = unpriced(0), an_event(1)
    await late.works.accept(record, known)
    await late.works.work_off()
    late.registry.publish("2031.05.03", NOW, {"openai:new": ("3", "15")})
    before = await late.contents()
    good = msgspec.structs.replace(
        record,
        model_key="openai:new",
        calculated_cost="1",
        cost="1",
        calculated_status="priced",
        cost_status="priced",
        registry_version="2031.05.03",
        repriced_at=NOW,
    )
    replace = msgspec.structs.replace
    bad = [
        replace(good, input_tokens=1),
        replace(good, origin="elsewhere"),
        replace(good, registry_version=PRICED_VERSION),  # does not know it
        replace(good, registry_version="2099.01.01"),
        replace(good, registry_version=None),
        replace(good, client_cost="2", cost="2", cost_status="client"),
        replace(good, repriced_at=NOW.replace(year=1, month=1, day=1, hour=0)),
    ]
    await late.works.accept(*bad, replace(known, repriced_at=NOW, input_tokens=9))
    await late.works.work_off()
    assert await late.contents() == before
    assert len(await read_all(late.works.event_log, USAGE_DEAD)) == len(bad)
    await late.check()
    await late.works.accept(good)  # its cost is not what the version says, which is put right as ever
    await late.works.work_off()
    [row] = await late.rows(record.log_id)
    assert row["cost"] == Decimal("0.0045")
    await late.check()


@ON_POSTGRES
async def test_a_key_stands_for_what_was_first_answered(late: Late) -> None:
    record = unpriced(0, idempotency_key="k", body_digest=b"d" * 32)
    await late.works.accept(record)
    await late.works.work_off()
    late.registry.publish("2031.05.03", NOW, {"openai:new": ("3", "15")})
    await late.run()
    await late.works.accept(record)  # a retry whose first answer was lost appends it once more
    await late.works.work_off()
    [[event]] = await late.works.fetch("SELECT event FROM usage.claims")
    assert msgspec.json.decode(event, type=UsageLogged).cost is None
    assert (await late.rows(record.log_id))[0]["cost"] == Decimal("0.0045")
    assert len(await late.receipts(record.log_id)) == 2
    await late.check()


@ON_POSTGRES
async def test_a_receipt_may_come_before_the_one_that_it_would_supersede(late: Late) -> None:
    """The first rated event was set aside, and is replayed after the second."""
    record = unpriced(0)
    await late.works.accept(record)
    async with late.works.rating():
        await late.works.wait_until_rated()
    late.registry.publish("2031.05.03", NOW, {"openai:new": ("3", "15")})
    await late.run()
    async with late.works.rating():
        await late.works.wait_until_rated()
    first, second = await read_all(late.works.event_log, USAGE_RATED)
    ends = await late.works.event_log.ends(USAGE_RATED)
    await late.works.event_log.append(
        USAGE_RATED, [Record(first.key, second.value or b""), Record(first.key, first.value or b"")]
    )
    await late.works.fetch(
        "INSERT INTO receipts.positions VALUES ('issuer', $1, $2, $3)",
        USAGE_RATED,
        first.partition,
        ends[first.partition],
    )
    await late.works.work_off()
    [receipt] = await late.receipts(record.log_id)
    assert (receipt["cost"], receipt["supersedes"]) == ("0.0045", None)
    await late.check()


@ON_POSTGRES
async def test_a_topic_that_has_lost_the_first_event_gives_the_record_back_with_its_cost(late: Late) -> None:
    record = unpriced(0)
    await late.works.accept(record)
    await late.works.work_off()
    late.registry.publish("2031.05.03", NOW, {"openai:new": ("3", "15")})
    await late.run()
    await late.works.work_off()
    live = await late.contents()
    await late.works.fetch(EMPTY_ALL)
    [first, second] = await read_all(late.works.event_log, USAGE_LOGGED)
    await late.works.fetch(
        "INSERT INTO usage.positions VALUES ('rater', $1, $2, $3)",
        USAGE_LOGGED,
        first.partition,
        second.offset,
    )
    await late.works.work_off()
    assert await late.contents() == live


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE usage.logs SET cost = cost + 1, calculated_cost = cost + 1", "wrong_cost"),
        ("UPDATE usage.logs SET cost = NULL, repriced_at = NULL", "wrong_cost"),
        ("DELETE FROM receipts.receipts WHERE revision = 1", "receipt_missing"),
        ("DELETE FROM receipts.receipts WHERE revision = 0", "receipt_misstated"),
        ("UPDATE receipts.receipts SET revision = 2 WHERE revision = 0", "receipt_misstated"),
    ],
)
@ON_POSTGRES
async def test_the_check_sees_what_is_wrong_with_a_late_cost(late: Late, statement: str, found: Kind) -> None:
    await late.works.accept(unpriced(0))
    await late.works.work_off()
    late.registry.publish("2031.05.03", NOW, {"openai:new": ("3", "15")})
    await late.run()
    await late.works.work_off()
    await late.check()
    await late.works.execute(statement)
    assert (await late.works.verify()).counts[found] >= 1
