"""Reservations: what is spent and held is never more than the budget, and what came of each counts once."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.ingest.budget import BudgetKey, Wish
from services.ingest.presence import Presence
from services.ingest.reserve import Reserving
from shared.errors import (
    BudgetExceededError,
    ConflictError,
    InvalidFieldError,
    LLMRingError,
    NotFoundError,
    UnavailableError,
)
from shared.postgres import Database
from shared.telemetry.metrics import REGISTRY
from tests.ingest.conftest import Way
from tests.ingest.house import NOW, A, B, Ingest, Street
from tests.ingest.spending import (
    MAY,
    Asked,
    Rater,
    a_budget,
    ask,
    costing,
    crossings,
    get,
    new_account,
    put,
    spent,
)
from tests.ingest.test_raters import deadlocks


async def held(asking: Awaitable[Any]) -> bool:
    """Whether a reservation was made."""
    try:
        await asking
    except BudgetExceededError:
        return False
    return True


def decided(outcome: str) -> float:
    """How many wishes were, as the metric says."""
    return REGISTRY.get_sample_value("llmring_reservations_total", {"outcome": outcome}) or 0


async def use(ingest: Ingest, account: UUID = A) -> list[tuple[Any, Any, Any]]:
    """Spent, reserved and remaining of each budget."""
    return [(each["spent"], each["reserved"], each["remaining"]) for each in await get(ingest, account)]


async def test_128_callers_of_three_processes_get_exactly_what_there_is(street: Street) -> None:
    ingests = [await street.open_ingest() for _ in range(3)]
    for number in range(5):
        [budget] = await put(ingests[0], a_budget(50.5, "origin", f"o-{number}"))
        asked = [held(ask(ingests[n % 3], budget, "reserve", amount=1)) for n in range(128)]
        assert sum(await asyncio.gather(*asked)) == 50
        assert await use(ingests[1]) == [(0, 50, Decimal("0.5"))]
        assert await held(ask(ingests[2], budget, "reserve", amount=0.5))
        assert not await held(ask(ingests[0], budget, "reserve", amount=1e-30))


@pytest.mark.parametrize("alike", [True, False])
async def test_128_callers_who_share_nothing_but_postgres_get_no_more_than_there_is(
    street: Street, *, alike: bool
) -> None:
    """Each with a decision of its own, as many at once as three pools of connections allow."""
    ingests = [await street.open_ingest() for _ in range(3)]
    chance = random.Random(3)
    for number in range(5):
        [budget] = await put(ingests[0], a_budget(50, "origin", f"o-{number}"))
        key = BudgetKey(A, UUID(budget["id"]))

        async def reserve(database: Database, amount: Decimal, key: BudgetKey = key) -> Decimal:
            reserving = Reserving(database, Presence(database), ingests[0].clock)
            wish = Wish(uuid4(), amount, timedelta(minutes=1))
            while True:  # on a busy machine a pool may keep somebody waiting for longer than anybody waits
                with contextlib.suppress(UnavailableError):
                    return amount if await held(reserving.reserve(key, wish)) else Decimal(0)

        amounts = [Decimal(1000 if alike else chance.randrange(1, 900)) / 1000 for _ in range(128)]
        granted = await asyncio.gather(
            *(reserve(ingests[n % 3].database, each) for n, each in enumerate(amounts))
        )
        assert 50 - max(amounts) <= sum(granted) <= 50
        assert not alike or sum(granted) == 50
        assert [each[1] for each in await use(ingests[1])] == [sum(granted)]


async def test_128_callers_who_spend_give_back_and_let_expire_never_spend_more_than_there_is(
    street: Street,
) -> None:
    """With raters and settlements at work meanwhile, and another budget that counts the same records."""
    ingests = [await street.open_ingest() for _ in range(3)]
    budget, _ = await put(ingests[0], a_budget(40), a_budget(1000, "origin", "web"))
    raters = [Rater(await street.open_recorder(), partition) for partition in range(2)]
    chance = random.Random(7)
    waiting: list[Any] = []
    paid: list[Decimal] = []
    over = asyncio.Event()
    seen: list[Decimal] = []

    async def spend(number: int) -> None:
        ingest = ingests[number % 3]
        for _ in range(4):
            amount = Decimal(chance.randrange(1, 400)) / 100
            what, cost = chance.choice(("record", "settle", "both", "release", "expire")), amount
            if what == "expire":
                amount = Decimal(1)
            try:
                found = await ask(
                    ingest,
                    budget,
                    "reserve",
                    amount=float(amount),
                    expires_in_s=60 if what == "expire" else 86_400,
                )
            except BudgetExceededError:
                continue
            name = found.body["reservation_id"]
            cost = amount * chance.randrange(101) / 100
            if what in ("record", "both"):
                waiting.append(costing(f"{cost:f}", origin="web", reservation_id=UUID(name)))
            if what in ("settle", "both"):
                await ask(ingest, budget, "settle", reservation_id=name, cost=float(amount))
            if what == "release":
                await ask(ingest, budget, "settle", reservation_id=name)
            if what in ("record", "both", "settle"):
                paid.append(cost if what != "settle" else amount)

    async def rate(rater: Rater) -> None:
        while waiting or not over.is_set():
            events, waiting[:] = waiting[:20], waiting[20:]
            if events:
                await rater.record(*events)
            await asyncio.sleep(0)

    async def watch() -> None:
        while not over.is_set():
            [spent_now, reserved, _], _ = await use(ingests[0])
            seen.append(spent_now + reserved)
            for ingest in ingests:  # now and then some expire
                ingest.clock.at += timedelta(seconds=1)

    before = await deadlocks(street)
    beside = [asyncio.create_task(each) for each in (*map(rate, raters), watch())]
    await asyncio.gather(*map(spend, range(128)))
    over.set()
    await asyncio.gather(*beside)
    for ingest in ingests:
        ingest.clock.at += timedelta(minutes=2)
    assert max(seen) <= 40
    [(total, reserved, _), _] = await use(ingests[0])
    assert total == sum(paid)
    assert reserved == 0
    assert await deadlocks(street) == before


async def test_what_expires_is_free_again_on_the_second_and_counts_all_the_same_if_it_was_used(
    street: Street,
) -> None:
    ingest = await street.open_ingest()
    [budget] = await put(ingest, a_budget(10))
    first = (await ask(ingest, budget, "reserve", amount=6, expires_in_s=60)).body
    assert first["expires_at"] == "2031-05-03T12:01:00Z"
    default = (await ask(ingest, budget, "reserve", amount=4)).body
    assert default["expires_at"] == "2031-05-03T12:10:00Z"
    ingest.clock.at = NOW + timedelta(seconds=60, microseconds=-1)
    assert not await held(ask(ingest, budget, "reserve", amount=6))
    ingest.clock.at = NOW + timedelta(seconds=60)
    assert await use(ingest) == [(0, 4, 6)]
    assert await held(ask(ingest, budget, "reserve", amount=6))
    answer = (await ask(ingest, budget, "settle", reservation_id=first["reservation_id"], cost=6)).body
    assert (answer["cost"], answer["overrun"], answer["remaining"]) == (6, 0, 0)
    assert await use(ingest) == [(6, 10, 0)]


async def test_a_reservation_is_settled_once_and_a_repeat_has_the_same_answer(street: Street) -> None:
    ingest = await street.open_ingest()
    [budget] = await put(ingest, a_budget(10))
    name = (await ask(ingest, budget, "reserve", amount=4)).body["reservation_id"]
    with pytest.raises(NotFoundError):
        await ask(ingest, budget, "settle", reservation_id=str(uuid4()), cost=1)
    answer, replayed = await ask(ingest, budget, "settle", reservation_id=name, cost=5.5)
    assert answer == {
        "reservation_id": name,
        "budget_id": budget["id"],
        "amount": 4,
        "cost": Decimal("5.5"),
        "cost_from": "caller",
        "overrun": Decimal("1.5"),
        "remaining": Decimal("4.5"),
    }
    assert not replayed
    assert await ask(ingest, budget, "settle", reservation_id=name, cost=5.50) == (answer, True)
    for cost in (0, None, 5):
        with pytest.raises(ConflictError):
            await ask(ingest, budget, "settle", reservation_id=name, cost=cost)
    assert await use(ingest) == [(Decimal("5.5"), 0, Decimal("4.5"))]
    given_back = (await ask(ingest, budget, "reserve", amount=4)).body["reservation_id"]
    assert (await ask(ingest, budget, "settle", reservation_id=given_back)).body["cost"] == 0
    assert (await ask(ingest, budget, "settle", reservation_id=given_back, cost=None)).replayed
    assert await use(ingest) == [(Decimal("5.5"), 0, Decimal("4.5"))]


async def test_of_many_settlements_at_once_each_is_decided_alone_and_the_first_of_a_name_counts(
    street: Street,
) -> None:
    ingests = [await street.open_ingest() for _ in range(3)]
    [budget] = await put(ingests[0], a_budget(100))
    made = [ask(ingests[0], budget, "reserve", amount=2, expires_in_s=60) for _ in range(20)]
    names = [each.body["reservation_id"] for each in await asyncio.gather(*made)]
    for ingest in ingests:
        ingest.clock.at += timedelta(seconds=60 if ingest is ingests[0] else 1)
    asked = [(name, cost) for name in (*names, str(uuid4())) for cost in (1, 2, 1, 2, 3)]
    answers = await asyncio.gather(
        *(
            ask(ingests[place % 3], budget, "settle", reservation_id=name, cost=cost)
            for place, (name, cost) in enumerate(asked)
        ),
        return_exceptions=True,
    )
    counted: dict[str, Any] = {}
    firsts = 0
    for (name, cost), answer in zip(asked, answers, strict=True):
        if name not in names:
            assert isinstance(answer, NotFoundError)
        elif isinstance(answer, Asked):
            assert counted.setdefault(name, answer.body["cost"]) == answer.body["cost"] == cost
            firsts += not answer.replayed
        else:
            assert isinstance(answer, ConflictError)
    assert counted.keys() == set(names)
    assert firsts == 20
    total = sum(counted.values())
    assert await use(ingests[0]) == [(total, 0, 100 - total)]


async def test_settling_reaches_thresholds_as_records_do(street: Street) -> None:
    ingest = await street.open_ingest()
    [budget] = await put(ingest, a_budget(10))
    name = (await ask(ingest, budget, "reserve", amount=8)).body["reservation_id"]
    assert await crossings(street) == []
    await ask(ingest, budget, "settle", reservation_id=name, cost=8)
    await ask(ingest, budget, "settle", reservation_id=name, cost=8)
    assert await crossings(street) == [(None, MAY, "10", "0.5", "8"), (None, MAY, "10", "0.8", "8")]


async def test_a_repeat_is_the_same_reservation(street: Street) -> None:
    ingest, other = [await street.open_ingest() for _ in range(2)]
    [budget] = await put(ingest, a_budget(10))
    name, before = str(uuid4()), decided("found")
    many = [ask(each, budget, "reserve", amount=3, reservation_id=name) for each in (ingest, other) * 20]
    answers = await asyncio.gather(*many)
    assert sum(not each.replayed for each in answers) == 1
    assert decided("found") - before == 39
    assert {(each.body["reservation_id"], each.body["expires_at"]) for each in answers} == {
        (name, "2031-05-03T12:10:00Z")
    }
    by_key = [await ask(each, budget, "reserve", amount=3, key="call-1") for each in (ingest, other)]
    assert by_key[0].body == by_key[1].body
    assert [each.replayed for each in by_key] == [False, True]
    with pytest.raises(InvalidFieldError) as refused:
        await ask(ingest, budget, "reserve", amount=4, reservation_id=name)
    assert [fault.field for fault in refused.value.faults] == ["reservation_id"]
    assert await use(ingest) == [(0, 6, 4)]
    # Used up, settled, expired: it is still the same one.
    await ask(ingest, budget, "settle", reservation_id=name, cost=10)
    assert (await ask(ingest, budget, "reserve", amount=3, reservation_id=name)).replayed
    assert await use(ingest) == [(10, 3, 0)]


async def test_the_cost_of_the_record_is_the_truth_whichever_comes_first(street: Street) -> None:
    ingest = await street.open_ingest()
    rater = Rater(await street.open_recorder())
    orders = ("record, settle", "settle, record", "record", "settle, expire, record")
    for order, cost in itertools.product(orders, ("2", "5", "0")):
        account = new_account()
        [budget] = await put(ingest, a_budget(10), account=account)
        made = await ask(ingest, budget, "reserve", account, amount=4)
        name = made.body["reservation_id"]
        record = costing(cost, account, reservation_id=UUID(name))
        for step in order.split(", "):
            if step == "record":
                for _ in range(2):
                    await rater.record(record, record)
                assert await spent(ingest, account) == [Decimal(cost)], (order, cost)
            elif step == "settle":
                answer = (await ask(ingest, budget, "settle", account, reservation_id=name, cost=3)).body
                expected = (Decimal(cost), "record") if order.startswith("record") else (3, "caller")
                assert (answer["cost"], answer["cost_from"]) == expected, (order, cost)
            else:
                ingest.clock.at += timedelta(hours=1)
        assert await use(ingest, account) == [(Decimal(cost), 0, 10 - Decimal(cost))], (order, cost)
        # A second record that names it is one like any other.
        await rater.record(costing("1", account, reservation_id=UUID(name)))
        assert await spent(ingest, account) == [Decimal(cost) + 1], (order, cost)


async def test_a_record_settles_its_reservation_in_every_budget_and_counts_in_the_others(
    street: Street,
) -> None:
    ingest = await street.open_ingest()
    budgets = await put(
        ingest,
        a_budget(10),
        a_budget(20, "origin", "web"),
        a_budget(30, "origin", "api"),
        a_budget(40, "key", str(UUID(int=7))),
    )
    name = str(uuid4())
    for budget in budgets[:3]:
        await ask(ingest, budget, "reserve", amount=5, reservation_id=name)
    await ingest.log(cost=2, origin="web", reservation_id=name)
    await street.rate_all()
    # Also in the third, though the record is none of its own: somebody reserved for it there.
    assert [each[:2] for each in await use(ingest)] == [(2, 0)] * 4
    await ingest.log(cost=1, origin="web", reservation_id=str(uuid4()))
    await ingest.call("POST", "/api/v1/log/batch", {"logs": [{**costing_body(), "reservation_id": name}]})
    await street.rate_all()
    assert await spent(ingest) == [4, 4, 2, 4]
    with pytest.raises(InvalidFieldError):
        await ingest.log(reservation_id="mine")


def costing_body() -> dict[str, Any]:
    return {"provider": "openai", "model": "m-1", "cost": 1, "origin": "web"}


async def test_a_record_without_a_cost_leaves_its_reservation_as_it_is(street: Street) -> None:
    ingest = await street.open_ingest()
    rater = Rater(await street.open_recorder())
    [budget] = await put(ingest, a_budget(10))
    name = (await ask(ingest, budget, "reserve", amount=4)).body["reservation_id"]
    await rater.record(costing(None, reservation_id=UUID(name)))
    assert await use(ingest) == [(0, 4, 6)]
    [row] = await street.fetch("SELECT reservation_id FROM usage.logs")
    assert str(row[0]) == name


async def test_what_was_reserved_in_a_month_counts_in_that_month(street: Street) -> None:
    ingest = await street.open_ingest(at=datetime(2031, 5, 31, 23, 59, 59, tzinfo=UTC))
    rater = Rater(await street.open_recorder())
    [budget] = await put(ingest, a_budget(10))
    name = (await ask(ingest, budget, "reserve", amount=10)).body["reservation_id"]
    assert not await held(ask(ingest, budget, "reserve", amount=1))
    ingest.clock.at = datetime(2031, 6, 1, tzinfo=UTC)
    assert await held(ask(ingest, budget, "reserve", amount=10))
    await rater.record(costing("9", occurred_at=ingest.clock.at, reservation_id=UUID(name)))
    assert await use(ingest) == [(0, 10, 0)]
    ingest.clock.at = NOW
    assert await use(ingest) == [(9, 0, 1)]


async def test_a_smaller_amount_grants_nothing_until_there_is_room_and_a_removed_budget_nothing(
    street: Street,
) -> None:
    ingest = await street.open_ingest()
    [budget] = await put(ingest, a_budget(10))
    name = (await ask(ingest, budget, "reserve", amount=8)).body["reservation_id"]
    await put(ingest, a_budget(5))
    with pytest.raises(BudgetExceededError) as refused:
        await ask(ingest, budget, "reserve", amount=1)
    assert "has 0 US dollars left" in refused.value.detail
    await put(ingest, a_budget(9))
    assert await held(ask(ingest, budget, "reserve", amount=1))
    await put(ingest)
    for what in ("reserve", "settle"):
        with pytest.raises(NotFoundError):
            await ask(ingest, budget, what, amount=1, reservation_id=name)


async def test_another_account_reserves_nothing_here(street: Street) -> None:
    ingest = await street.open_ingest()
    rater = Rater(await street.open_recorder())
    [budget], [theirs] = await put(ingest, a_budget(10)), await put(ingest, a_budget(10), account=B)
    name = (await ask(ingest, budget, "reserve", amount=4)).body["reservation_id"]
    for what in ("reserve", "settle"):
        for wrong in (budget, {"id": str(uuid4())}):
            with pytest.raises(NotFoundError) as refused:
                await ask(ingest, wrong, what, account=B, amount=1, reservation_id=name)
            assert refused.value.detail == "There is no such budget."
    with pytest.raises(NotFoundError):
        await ask(ingest, theirs, "settle", account=B, reservation_id=name)
    await rater.record(costing("3", B, reservation_id=UUID(name)))
    assert await use(ingest) == [(0, 4, 6)]
    assert await spent(ingest, B) == [3]


async def test_wrong_fields_are_named(street: Street) -> None:
    ingest = await street.open_ingest()
    [budget] = await put(ingest, a_budget(10))
    name = str(uuid4())
    bad: list[tuple[str, Any, list[str]]] = [
        ("reserve", {}, ["amount"]),
        ("reserve", {"amount": 0}, ["amount"]),
        ("reserve", {"amount": -1}, ["amount"]),
        ("reserve", {"amount": "1"}, ["amount"]),
        ("reserve", {"amount": None}, ["amount"]),
        ("reserve", {"amount": 1e10}, ["amount"]),
        ("reserve", {"amount": 1, "expires_in_s": 0}, ["expires_in_s"]),
        ("reserve", {"amount": 1, "expires_in_s": 86401}, ["expires_in_s"]),
        (
            "reserve",
            {"amount": 1, "expires_in_s": 1.5, "reservation_id": "x"},
            ["expires_in_s", "reservation_id"],
        ),
        ("settle", {"cost": 1}, ["reservation_id"]),
        ("settle", {"reservation_id": name, "cost": -1}, ["cost"]),
        ("settle", {"reservation_id": name, "cost": 1_000_001}, ["cost"]),
        ("settle", {"reservation_id": name, "cost": "1"}, ["cost"]),
    ]
    for what, body, fields in bad:
        with pytest.raises(InvalidFieldError) as refused:
            await ingest.call("POST", f"/api/v1/budgets/{budget['id']}/{what}", body)
        assert [fault.field for fault in refused.value.faults] == fields
    with pytest.raises(NotFoundError):
        await ingest.call("POST", "/api/v1/budgets/7/reserve", {"amount": 1})


async def test_without_postgres_nothing_is_granted_and_what_there_was_is_there_again_after_it(
    street: Street, to_postgres: Way
) -> None:
    """It fails closed: a caller who gets no yes has to take it for a no."""
    ingests = [await street.open_ingest(url=to_postgres.url) for _ in range(3)]
    [budget] = await put(ingests[0], a_budget(10))
    assert await held(ask(ingests[0], budget, "reserve", amount=4))
    await to_postgres.link.cut()
    asked = [ask(ingests[n % 3], budget, "reserve", amount=1) for n in range(30)]
    for refused in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(refused, UnavailableError)
        assert refused.retry_after is not None
    beside = await street.open_ingest()
    assert await use(beside) == [(0, 4, 6)]
    await to_postgres.link.open()

    async def reserve_in_the_end(ingest: Ingest) -> bool:
        async with asyncio.timeout(20):
            while True:
                try:
                    return await held(ask(ingest, budget, "reserve", amount=1))
                except UnavailableError:
                    await asyncio.sleep(0.05)

    granted = [reserve_in_the_end(ingests[n % 3]) for n in range(30)]
    assert sum(await asyncio.gather(*granted)) == 6
    assert await use(beside) == [(0, 10, 0)]


async def test_the_databases_clock_decides_in_production(street: Street) -> None:
    """The clocks of processes may differ, and none of them is asked."""
    ingest = await street.open_ingest(at=datetime.now(UTC))
    [budget] = await put(ingest, a_budget(1))
    reserving = Reserving(ingest.database, Presence(ingest.database))
    [now] = (await street.fetch("SELECT clock_timestamp()"))[0]
    key = BudgetKey(A, UUID(budget["id"]))
    decision = await reserving.reserve(key, Wish(uuid4(), Decimal(1), timedelta(milliseconds=50)))
    assert now < decision.expires_at < now + timedelta(seconds=30)
    async with asyncio.timeout(20):
        while True:
            try:
                await reserving.reserve(key, Wish(uuid4(), Decimal(1), timedelta(minutes=1)))
                break
            except LLMRingError:
                await asyncio.sleep(0.01)
    [at] = (await street.fetch("SELECT clock_timestamp()"))[0]
    assert at >= decision.expires_at
