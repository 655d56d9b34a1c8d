"""Retention: old records go, in small batches and beside everything else; sums and answers stay."""

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.ingest.rebuild import rebuild_rollups
from services.ingest.retention import Retention, Swept, run_retention
from services.ingest.store.recount import CountFound, SumsFound
from shared.clock import FixedClock, rfc3339
from shared.contracts.accounts import RetentionRule
from shared.contracts.topics import USAGE_LOGGED
from shared.errors import InvalidFieldError, NotFoundError, UnavailableError
from shared.event_log.port import Record
from tests.ingest.house import CALL, NOW, A, B, Ingest, Street
from tests.ingest.spending import Rater, a_budget, ask, costing, get, put
from tests.ingest.test_quota import ingest_used

GRACE = timedelta(days=7)
YEAR = "/api/v1/stats?start_date=2030-06-01&end_date=2031-05-31&group_by=month"


class Rules:
    """Stands for auth."""

    def __init__(self, **days: int | None) -> None:
        self.rules = {
            {"A": A, "B": B}[name]: RetentionRule(
                account_id={"A": A, "B": B}[name], days=each, shortened_at=None
            )
            for name, each in days.items()
        }
        self.failure: UnavailableError | None = None

    async def __call__(self, account_ids: Sequence[UUID]) -> list[RetentionRule]:
        if self.failure is not None:
            raise self.failure
        return [self.rules[each] for each in account_ids if each in self.rules]

    def shorten(self, account_id: UUID, days: int, at: datetime) -> None:
        self.rules[account_id] = RetentionRule(account_id=account_id, days=days, shortened_at=at)


async def open_retention(street: Street, rules: Rules, batch: int = 2_000) -> Retention:
    return Retention(await street.open_database(), rules, FixedClock(NOW), GRACE, batch)


def old(**age: float) -> str:
    return rfc3339(NOW - timedelta(**age))


async def left(street: Street, account: UUID = A) -> list[datetime]:
    rows = await street.fetch(
        "SELECT occurred_at FROM usage.logs WHERE account_id = $1 ORDER BY occurred_at DESC", account
    )
    return [row["occurred_at"] for row in rows]


async def test_reservations_go_when_their_month_is_long_over_or_their_budget_was_removed(
    street: Street,
) -> None:
    ingest = await street.open_ingest(at=datetime(2031, 1, 31, tzinfo=UTC))
    rater = Rater(await street.open_recorder())
    kept, removed = await put(ingest, a_budget(1000), a_budget(1000, "origin", "web"))
    names: dict[str, str] = {}
    for month in (1, 2, 3):
        ingest.clock.at = datetime(2031, month, 28, tzinfo=UTC)
        for budget in (kept, removed):
            for number in range(5):
                name = names[f"{month} {number}"] = str(UUID(int=10 * month + number))
                await ask(ingest, budget, "reserve", amount=1, reservation_id=name)
                await ask(ingest, budget, "settle", reservation_id=name, cost=1)
    retention = await open_retention(street, Rules(), batch=3)
    clock = FixedClock(datetime(2031, 5, 3, tzinfo=UTC))
    retention._clock = clock
    assert await retention.forget_reservations() == 0
    clock.at += timedelta(days=1)  # 92 days after January
    assert await retention.forget_reservations() == 10
    await put(ingest, a_budget(1000))
    assert len(await street.fetch("SELECT FROM usage.removed_budget_months")) == 2
    assert await retention.forget_reservations() == 10
    assert await retention.forget_reservations() == 0
    assert await street.fetch("SELECT FROM usage.removed_budget_months") == []
    # What was spent stays; a name that is forgotten is that of nothing.
    rows = await street.fetch("SELECT month::text, spent, forgotten FROM usage.budget_months ORDER BY 1")
    assert [tuple(row) for row in rows] == [
        ("2031-01-01", 5, True),
        ("2031-02-01", 5, False),
        ("2031-03-01", 5, False),
    ]
    ingest.clock.at = datetime(2031, 1, 31, tzinfo=UTC)
    for month, is_known in ((1, False), (2, True)):
        name = names[f"{month} 1"]
        await rater.record(costing("2", occurred_at=ingest.clock.at, reservation_id=UUID(name)))
        assert [each["spent"] for each in await get(ingest)] == [7]
        if not is_known:
            with pytest.raises(NotFoundError):
                await ask(ingest, kept, "settle", reservation_id=name, cost=1)


async def year(ingest: Ingest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await ingest.call("GET", YEAR)).body)
    return found


async def test_exactly_what_is_too_old_goes_and_the_years_sums_stay(street: Street) -> None:
    """Case B5."""
    ingest = await street.open_ingest()
    ages = [timedelta(days=29, hours=23), timedelta(days=30, hours=1), timedelta(days=31)]
    answers = [await ingest.log(timestamp=rfc3339(NOW - age), latency_ms=7) for age in ages]
    await ingest.log(timestamp=old(days=400), account=B)
    await street.rate_all()
    before = await year(ingest), await ingest_used(ingest, 99)
    retention = await open_retention(street, Rules(A=30, B=None))
    assert await retention.sweep(dry_run=True) == Swept(accounts=2, records=2)
    assert len(await left(street)) == 3
    assert await retention.sweep() == Swept(accounts=2, records=2)
    assert await left(street) == [NOW - ages[0]]
    assert len(await left(street, B)) == 1
    assert (await year(ingest), await ingest_used(ingest, 99)) == before
    assert await ingest_used(await street.open_ingest(), 99) == 3
    kept, *gone = [json.loads(answer)["log_id"] for answer in answers]
    assert (await ingest.call("GET", f"/api/v1/logs/{kept}")).status == 200
    for log_id in gone:
        with pytest.raises(NotFoundError):
            await ingest.call("GET", f"/api/v1/logs/{log_id}")
    assert json.loads((await ingest.call("GET", "/internal/kept")).body) == {"deleted_before": old(days=30)}
    assert json.loads((await ingest.call("GET", "/internal/kept", account=B)).body) == {
        "deleted_before": None
    }
    assert await retention.sweep() == Swept(accounts=2)


async def test_a_downgrade_deletes_nothing_at_once_and_silence_deletes_nothing_at_all(street: Street) -> None:
    ingest = await street.open_ingest()
    for account in (A, B):
        await ingest.log(timestamp=old(days=100), account=account)
    await street.rate_all()
    rules = Rules()
    retention = await open_retention(street, rules)
    assert await retention.sweep() == Swept(accounts=2, unknown=2)
    rules.failure = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await retention.sweep()
    rules.failure = None
    rules.shorten(A, 30, NOW - GRACE + timedelta(seconds=1))
    rules.shorten(B, 30, NOW - GRACE)
    assert await retention.sweep() == Swept(accounts=2, waiting=1, records=1)
    assert (len(await left(street)), len(await left(street, B))) == (1, 0)


async def test_a_repeat_of_a_deleted_record_is_answered_and_counted_no_more(street: Street) -> None:
    ingest = await street.open_ingest()
    first = await ingest.log("k", timestamp=old(days=31))
    await street.rate_all()
    events = await street.logged()
    retention = await open_retention(street, Rules(A=30))
    assert (await retention.sweep()).records == 1
    assert await ingest.log("k", timestamp=old(days=31)) == first
    assert await street.logged() == events
    with pytest.raises(InvalidFieldError):
        await ingest.log("k", timestamp=old(days=31), output_tokens=7)
    # Also where it reaches the log once more, as it may while Postgres is away.
    await street.event_log.append(USAGE_LOGGED, [Record(str(A).encode(), value) for value in events])
    await street.rate_all()
    assert await left(street) == []
    assert (await year(ingest))["total_requests"] == 1
    assert await ingest_used(await street.open_ingest(), 9) == 1
    # One that is imported late is another one, and goes with the next run.
    await ingest.log("late", timestamp=old(days=60))
    await street.rate_all()
    assert len(await left(street)) == 1
    assert (await retention.sweep()).records == 1
    assert (await year(ingest))["total_requests"] == 2


async def test_a_price_that_is_found_after_the_record_went_brings_nothing_back(street: Street) -> None:
    ingest = await street.open_ingest()
    await ingest.log(model="m-unknown", timestamp=old(days=31))
    await street.rate_all()
    [value] = await street.logged()
    before = await year(ingest)
    await (await open_retention(street, Rules(A=30))).sweep()
    late = {**json.loads(value), "repriced_at": rfc3339(NOW), "cost": "1", "calculated_cost": "1"}
    record = Record(str(A).encode(), json.dumps(late).encode())
    await street.event_log.append(USAGE_LOGGED, [record])
    await street.rate_all()
    assert await left(street) == []
    assert await year(ingest) == before


async def test_sums_that_outlived_their_records_are_no_difference_and_are_not_put_right(
    street: Street,
) -> None:
    ingest = await street.open_ingest()
    for age in (31, 30.2, 29.9, 1):
        await ingest.log(timestamp=old(days=age), latency_ms=7)
    await street.rate_all()
    before = await year(ingest)
    await (await open_retention(street, Rules(A=30))).sweep()
    told: list[SumsFound | CountFound] = []

    async def rebuild(*, only_check: bool) -> int:
        database = await street.open_database()
        rebuilt = await rebuild_rollups(database, told.append, lambda *_: None, only_check=only_check)
        return rebuilt.differences

    assert await rebuild(only_check=False) == 0
    assert await year(ingest) == before
    await street.fetch("UPDATE usage.rollups SET requests = 9 WHERE bucket_at > $1", NOW - timedelta(days=2))
    assert await rebuild(only_check=False) == 2
    assert await year(ingest) == before


async def test_one_deletes_at_a_time_in_small_batches_and_whoever_holds_a_row_is_not_waited_for(
    street: Street,
) -> None:
    ingest = await street.open_ingest()
    logs = [{**CALL, "timestamp": old(days=40 + n)} for n in range(30)]
    await ingest.call("POST", "/api/v1/log/batch", {"logs": logs})
    await street.rate_all()
    retentions = [await open_retention(street, Rules(A=30), batch=4) for _ in range(3)]
    database = await street.open_database()
    async with database.transaction() as connection:
        [held] = await connection.fetch(
            "SELECT log_id FROM usage.logs WHERE account_id = $1 ORDER BY occurred_at LIMIT 1 FOR UPDATE", A
        )
        swept = await asyncio.gather(*(each.sweep() for each in retentions))
        assert sum(each.records for each in swept) == 29
        assert any(each.is_whole for each in swept)
    assert [row["log_id"] for row in await street.fetch("SELECT log_id FROM usage.logs")] == [held["log_id"]]
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('llmring usage retention'))")
        assert await retentions[0].sweep() == Swept(accounts=1, is_whole=False)
    assert (await retentions[0].sweep()).records == 1


async def test_records_are_taken_in_and_stored_while_old_ones_go(street: Street) -> None:
    """Case B5: nobody waits for it, and nothing is lost or counted twice."""
    ingest = await street.open_ingest()
    for _ in range(3):
        logs = [{**CALL, "timestamp": old(days=31, minutes=n)} for n in range(1000)]
        await ingest.call("POST", "/api/v1/log/batch", {"logs": logs})
    await street.rate_all()
    retention = await open_retention(street, Rules(A=30), batch=200)
    took: list[float] = []
    async with street.rating():
        sweeping = asyncio.create_task(retention.sweep())
        number = 0
        while not sweeping.done() or number < 50:
            began = time.monotonic()
            await ingest.log(f"k{number}")
            took.append(time.monotonic() - began)
            number += 1
        assert (await sweeping).records == 3000
        await ingest.settle(number)
    assert len(await left(street)) == number
    assert sorted(took)[int(len(took) * 0.95)] < 1
    assert (await year(ingest))["total_requests"] == 3000 + number


async def test_it_goes_on_after_an_outage_and_ends_when_told(
    street: Street, caplog: pytest.LogCaptureFixture
) -> None:
    ingest = await street.open_ingest()
    await ingest.log(timestamp=old(days=31))
    await street.rate_all()
    rules = Rules(A=30)
    rules.failure = UnavailableError("Auth is away.")
    stop = asyncio.Event()
    pause = timedelta(milliseconds=20)
    task = asyncio.create_task(run_retention(await open_retention(street, rules), pause, timedelta(0), stop))
    async with asyncio.timeout(20):
        while "Auth is away." not in caplog.text:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)
        assert len(await left(street)) == 1
        rules.failure = None
        while await left(street):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)
        stop.set()
        await task
