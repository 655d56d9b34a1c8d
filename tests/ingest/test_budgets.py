"""Budgets: what they count, from when on, once; and what is told when a threshold is reached."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.ingest.store.retention import delete_old
from shared.contracts.topics import BUDGETS_CROSSED, USAGE_LOGGED
from shared.errors import ForbiddenError, InvalidFieldError, NotFoundError, UnavailableError
from shared.event_log.port import Record
from tests.ingest.conftest import Way
from tests.ingest.house import CALL, KEY, NOW, A, B, Street
from tests.ingest.spending import (
    MAY,
    NowKnown,
    Rater,
    a_budget,
    costing,
    crossings,
    get,
    new_account,
    numbers,
    priced_late,
    put,
    spent,
)
from tests.ingest.test_raters import FAIL_ONCE, deadlocks

EACH_SCOPE = (a_budget(), a_budget(scope="key", value=str(KEY)), a_budget(scope="origin", value="web"))


async def test_a_record_counts_once_in_every_budget_that_it_matches_in_the_month_of_its_own_time(
    street: Street,
) -> None:
    ingest = await street.open_ingest()
    made = await put(ingest, *EACH_SCOPE)
    assert [(each["month"], each["spent"], each["remaining"]) for each in made] == [(MAY, 0, 100)] * 3
    await ingest.log(cost=1, origin="web")
    await ingest.log("k", cost=2, origin="Web", timestamp="2031-05-01T00:00:00Z")
    await ingest.log("k", cost=2, origin="Web", timestamp="2031-05-01T00:00:00Z")
    await ingest.call("POST", "/api/v1/log", CALL | {"cost": 0.0000000375}, key_id=UUID(int=8))
    await ingest.log(cost=50, origin="web", timestamp="2031-04-30T23:59:59.999999Z")
    await ingest.log(cost=50, origin="web", timestamp="2030-05-03T12:00:00Z")
    await ingest.log(input_tokens=1_000_000, output_tokens=0)
    await ingest.log(cost=7, account=B)
    await street.rate_all()
    assert await spent(ingest) == [Decimal("4.0000000375"), 4, 1]
    assert (await ingest.call("GET", "/api/v1/budgets")).body.count(b"95.9999999625") == 1
    assert await get(ingest, B) == []
    ingest.clock.at = datetime(2031, 6, 1, tzinfo=UTC)
    await ingest.log(cost=3, timestamp="2031-05-31T23:59:59Z")
    await ingest.log(cost=5, origin="web")
    await street.rate_all()
    assert [(each["month"], each["spent"]) for each in await get(ingest)] == [
        ("2031-06", 5),
        ("2031-06", 5),
        ("2031-06", 5),
    ]
    ingest.clock.at = NOW
    assert await spent(ingest) == [Decimal("7.0000000375"), 7, 1]


async def test_a_budget_that_is_made_in_mid_month_begins_with_what_the_month_has_cost(street: Street) -> None:
    ingest = await street.open_ingest()
    rater = Rater(await street.open_recorder())
    await rater.record(
        costing("1", origin="web"),
        costing("2", origin="web", occurred_at=NOW - timedelta(days=1)),
        costing(None, origin="web"),
        costing("4", key_id=UUID(int=8), occurred_at=datetime(2031, 5, 1, tzinfo=UTC)),
        costing("8", occurred_at=datetime(2031, 4, 30, 23, tzinfo=UTC)),
    )
    assert [(each["spent"], each["unpriced_requests"]) for each in await put(ingest, *EACH_SCOPE)] == [
        (7, 1),
        (3, 1),
        (3, 1),
    ]
    # Sums stay when records are deleted, and so do those of a budget that is made after that.
    async with (await street.open_database()).transaction() as connection:
        assert await delete_old(connection, A, NOW - timedelta(hours=1), 10) == 3
    assert await spent(ingest) == [7, 3, 3]
    await put(ingest)
    assert await get(ingest) == []
    assert [each["spent"] for each in await put(ingest, *EACH_SCOPE)] == [7, 1, 3]


async def test_a_record_is_counted_once_whatever_happens_at_once_while_budgets_are_made(
    street: Street,
) -> None:
    ingest = await street.open_ingest()
    raters = [Rater(await street.open_recorder(), partition) for partition in range(3)]
    before, chance = await deadlocks(street), random.Random(5)
    scopes = [
        a_budget(scope="key", value=str(KEY)),
        a_budget(scope="origin", value="web"),
        *(a_budget(scope="origin", value=f"o-{number}") for number in range(5)),
        a_budget(),
    ]
    total = 0

    async def rate(rater: Rater) -> None:
        nonlocal total
        for _ in range(6):
            events = [costing("1", new_account()) for _ in range(20)] + [
                costing("1", account, origin="web") for account in (A, B) for _ in range(5)
            ]
            chance.shuffle(events)
            await rater.record(*events)
            total += 5

    async def set_again_and_again() -> None:
        while total < 3 * 6 * 5:
            for account in (A, B):
                await put(ingest, *chance.sample(scopes, chance.randrange(len(scopes))), account=account)

    await asyncio.gather(*map(rate, raters), set_again_and_again(), set_again_and_again())
    for account in (A, B):
        kept = await put(ingest, *scopes, account=account)
        expected = [Decimal(0 if (each["value"] or "").startswith("o-") else total) for each in kept]
        assert [each["spent"] for each in kept] == expected
    assert await deadlocks(street) == before


async def test_a_cost_that_is_found_later_counts_when_it_is_found(street: Street) -> None:
    ingest = await street.open_ingest()
    recorder = await street.open_recorder()
    rater = Rater(recorder)
    earlier, later = [costing(None, provider="unknown", origin="web") for _ in range(2)]
    await rater.record(earlier)
    await put(ingest, *EACH_SCOPE)
    await rater.record(later, costing("1", origin="web"))
    assert {(each["spent"], each["unpriced_requests"]) for each in await get(ingest)} == {(1, 2)}
    recorder._pricebook = NowKnown()  # type: ignore[assignment]  # stands in its place
    for _ in range(2):
        await rater.record(priced_late(earlier), priced_late(later))
    assert {(each["spent"], each["unpriced_requests"]) for each in await get(ingest)} == {
        (Decimal("1.000026"), 0)
    }


async def test_each_threshold_is_told_once_when_it_is_reached(street: Street) -> None:
    ingest = await street.open_ingest()
    rater = Rater(await street.open_recorder())
    [budget] = await put(ingest, a_budget(10, "origin", "web", thresholds=[1, 0.5, 0.8, 0.5]))
    assert budget["thresholds"] == [Decimal("0.5"), Decimal("0.8"), 1]
    await rater.record(costing("4.99", origin="web"))
    assert await crossings(street) == []
    events = [costing("0.01", origin="web"), costing("4", origin="web"), costing("1", origin="web")]
    await rater.record(events[0])
    await rater.record(*events)
    told = [("0.5", "5"), ("0.8", "10"), ("1", "10")]
    assert await crossings(street) == [("web", MAY, "10", *each) for each in told]
    await rater.record(*events, costing("7", origin="web"), costing("3", origin="web"))
    assert len(await street.logged(BUDGETS_CROSSED)) == 3
    assert [each["crossed"] for each in await get(ingest)] == [[Decimal("0.5"), Decimal("0.8"), 1]]
    # Another amount has thresholds of its own; what is reached at once is told at once.
    for amount in (100, 30, 20):
        [changed] = await put(ingest, a_budget(amount, "origin", "web", name="renamed"))
        assert (changed["id"], changed["spent"]) == (budget["id"], 20)
    told = [("30", "0.5"), ("20", "0.8"), ("20", "1")]
    assert (await crossings(street))[3:] == [("web", MAY, *each, "20") for each in told]
    await rater.record(costing("1", origin="web"))
    await put(ingest, a_budget(20, "origin", "web"))
    assert len(await street.logged(BUDGETS_CROSSED)) == 6


async def test_a_month_that_is_over_has_thresholds_as_well(street: Street) -> None:
    ingest = await street.open_ingest()
    rater = Rater(await street.open_recorder())
    await put(ingest, a_budget(10))
    ingest.clock.at = datetime(2031, 6, 2, tzinfo=UTC)
    await rater.record(costing("9"), costing("5", occurred_at=ingest.clock.at))
    found = await crossings(street)
    assert sorted(each[1:4] for each in found) == [
        (MAY, "10", "0.5"),
        (MAY, "10", "0.8"),
        ("2031-06", "10", "0.5"),
    ]


async def test_without_the_event_log_nothing_that_reaches_a_threshold_is_counted_and_then_once(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = await street.open_ingest()
    recorder = await street.open_recorder()
    rater = Rater(recorder)
    await put(ingest, a_budget(10))
    append = street.event_log.append
    failing = True

    async def fail_once(topic: str, records: list[Record]) -> Any:
        nonlocal failing
        if topic == BUDGETS_CROSSED and failing:
            failing = False
            raise UnavailableError("away")
        return await append(topic, records)

    monkeypatch.setattr(street.event_log, "append", fail_once)
    event = costing("9")
    with pytest.raises(UnavailableError):
        await rater.record(event)
    assert await spent(ingest) == [0]
    rater = Rater(recorder)
    await rater.record(event)
    assert await spent(ingest) == [9]
    assert [each[3] for each in await crossings(street)] == ["0.5", "0.8"]
    failing = True
    with pytest.raises(UnavailableError):
        await put(ingest, a_budget(9))
    assert [each["amount"] for each in await get(ingest)] == [10]


@pytest.mark.parametrize("code", ["40P01", "22012"])
async def test_a_failure_while_budgets_are_counted_is_tried_again_and_counts_once(
    street: Street, code: str
) -> None:
    ingest = await street.open_ingest()
    await put(ingest, *EACH_SCOPE)
    await ingest.log(cost=60, origin="web")
    async with (await street.open_database()).connection() as connection:
        await connection.execute(FAIL_ONCE.format(table="budget_months", code=code))
    await street.rate_all()
    [tries] = await street.fetch("SELECT last_value FROM usage.tries")
    assert tries["last_value"] >= 2
    assert await spent(ingest) == [60, 60, 60]
    assert len(await crossings(street)) == 3
    await street.assert_rollups_add_up()


async def test_budgets_are_set_all_at_once_or_not_at_all(street: Street) -> None:
    ingest = await street.open_ingest()
    one, other = await put(ingest, a_budget(), a_budget(5, "origin", "web"))
    [kept] = await put(ingest, a_budget(5, "origin", "web", id=other["id"], thresholds=[]))
    assert (kept["id"], kept["thresholds"]) == (other["id"], [])
    bad: list[tuple[Any, list[str]]] = [
        ([a_budget(), a_budget(7)], ["budgets[1]"]),
        ([a_budget(id=one["id"])], ["budgets[0].id"]),
        ([a_budget(id=str(uuid4()))], ["budgets[0].id"]),
        ([a_budget(5, "origin", "api", id=other["id"])], ["budgets[0].id"]),
        ([a_budget(0), a_budget(1e10, "origin", "k")], ["budgets[0].amount", "budgets[1].amount"]),
        ([a_budget(-1)], ["budgets[0].amount"]),
        ([a_budget("5")], ["budgets[0].amount"]),
        ([a_budget(value="x")], ["budgets[0].value"]),
        ([a_budget(scope="key", value="k")], ["budgets[0].value"]),
        ([a_budget(scope="origin")], ["budgets[0].value"]),
        ([a_budget(scope="origin", value="a\0b", name="\0")], ["budgets[0].value", "budgets[0].name"]),
        ([a_budget(scope="model", value="x"), 7], ["budgets[0].scope", "budgets[1]"]),
        ([a_budget(thresholds=[0, 0.5, 11])], ["budgets[0].thresholds[0]", "budgets[0].thresholds[2]"]),
        ([a_budget(thresholds=[0.1 * n for n in range(1, 12)])], ["budgets[0].thresholds"]),
        ([a_budget(5, "origin", f"o-{n}") for n in range(101)], ["budgets"]),
        ({}, ["budgets"]),
    ]
    for budgets, fields in bad:
        with pytest.raises(InvalidFieldError) as refused:
            await ingest.call("PUT", "/api/v1/budgets", {"budgets": budgets})
        assert {fault.field for fault in refused.value.faults} == set(fields)
        assert await get(ingest) == [kept]
    many = await put(ingest, *(a_budget(5, "origin", f"o-{n}") for n in range(100)))
    assert len({each["id"] for each in many}) == 100
    key = await put(ingest, a_budget(scope="key", value="00000000000000000000000000000007"))
    assert [each["value"] for each in key] == [str(KEY)]


async def test_a_new_budget_is_for_a_key_of_the_account(street: Street) -> None:
    ingest = await street.open_ingest()
    old, strange = UUID(int=8), UUID(int=9)
    kept = await put(ingest, a_budget(scope="key", value=str(old)))
    ingest.auth.nobodys = {old, strange}
    budgets = [a_budget(), *(a_budget(scope="key", value=str(each)) for each in (strange, KEY, old))]
    with pytest.raises(InvalidFieldError) as refused:
        await put(ingest, *budgets)
    assert [fault.field for fault in refused.value.faults] == ["budgets[1].value"]
    assert await get(ingest) == kept
    assert len(await put(ingest, budgets[0], *budgets[2:])) == 3, "one that is there stays"


@pytest.mark.parametrize(
    "failure",
    [UnavailableError("away"), NotFoundError("An older auth knows no such path."), TimeoutError()],
)
async def test_without_auth_no_key_is_taken_on_trust_and_other_budgets_are_set(
    street: Street, failure: Exception
) -> None:
    ingest = await street.open_ingest()
    [kept] = await put(ingest, a_budget())
    ingest.auth.failure = failure
    with pytest.raises(UnavailableError) as refused:
        await put(ingest, a_budget(7), a_budget(scope="key", value=str(KEY)))
    assert refused.value.retry_after is not None
    assert await get(ingest) == [kept]
    assert [each["amount"] for each in await put(ingest, a_budget(7))] == [7]


async def test_a_key_needs_the_scope_and_another_accounts_budget_is_none(street: Street) -> None:
    ingest = await street.open_ingest()
    [mine] = await put(ingest, a_budget())
    put_or_get: list[tuple[str, str, Any, str]] = [
        ("PUT", "", {"budgets": []}, "admin"),
        ("GET", "", None, "read"),
    ]
    asked = {"amount": 1, "reservation_id": str(uuid4())}
    below = [("POST", f"/{mine['id']}/{what}", asked, "log") for what in ("reserve", "settle")]
    for method, path, body, scope in put_or_get + below:
        scopes = tuple({"log", "read", "admin"} - {scope})
        with pytest.raises(ForbiddenError):
            await ingest.call(method, f"/api/v1/budgets{path}", body, scopes=scopes)
    with pytest.raises(InvalidFieldError):
        await put(ingest, a_budget(id=mine["id"]), account=B)
    await put(ingest, account=B)
    assert await get(ingest) == [mine]


async def test_without_postgres_budgets_say_503_and_records_are_taken(
    street: Street, to_postgres: Way
) -> None:
    ingest = await street.open_ingest(url=to_postgres.url)
    [budget] = await put(ingest, a_budget())
    await to_postgres.link.cut()
    for method, path, body in (
        ("GET", "", None),
        ("PUT", "", {"budgets": []}),
        ("POST", f"/{budget['id']}/reserve", {"amount": 1}),
        ("POST", f"/{budget['id']}/settle", {"reservation_id": str(uuid4())}),
    ):
        with pytest.raises(UnavailableError) as refused:
            await ingest.call(method, f"/api/v1/budgets{path}", body)
        assert refused.value.retry_after is not None
    await ingest.log(cost=1)
    assert len(await street.logged(USAGE_LOGGED)) == 1
    assert await street.fetch("SELECT FROM usage.reservations") == []
    other = await street.open_ingest()
    await street.rate_all()
    assert await spent(other) == [1]


async def test_a_read_waits_for_the_callers_own_record(street: Street) -> None:
    ingest = await street.open_ingest(read_wait_ms=2000)
    await put(ingest, a_budget())
    async with street.rating():
        for count in range(1, 20):
            await ingest.log(cost=1)
            assert await spent(ingest) == [count]
    await ingest.log(cost=1)
    answer = await ingest.call("GET", "/api/v1/budgets")
    assert (b"x-llmring-complete", b"false") in answer.headers
    assert numbers(answer.body)["budgets"][0]["spent"] == 19


async def test_accounts_without_budgets_cost_the_rater_one_question(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    rater = Rater(await street.open_recorder())
    asked: list[str] = []
    for name in ("fetch", "fetchrow", "execute"):
        original = getattr(asyncpg.Connection, name)

        async def note(
            self: Any, query: str, *arguments: Any, original: Any = original, **options: Any
        ) -> Any:
            asked.append(query)
            return await original(self, query, *arguments, **options)

        monkeypatch.setattr(asyncpg.Connection, name, note)
    await rater.record(costing("1"), *(costing("1", new_account()) for _ in range(50)))
    [question] = [query for query in asked if "budget" in query]
    assert "list_budgets_to_count" in question
