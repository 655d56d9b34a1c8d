"""Whatever comes in whatever order, a budget is the sum of what is true of its records and reservations."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from services.ingest.month import month_of
from shared.contracts.usage import UsageLogged
from shared.errors import BudgetExceededError, ConflictError
from tests.ingest.house import NOW, Ingest, Street
from tests.ingest.spending import Rater, a_budget, ask, costing, get, new_account, put

AMOUNT = Decimal(20)
cents = st.sampled_from([Decimal(number) / 100 for number in (0, 1, 5, 99, 250, 500, 777, 1500)])
which = st.integers(0, 2)
RESERVE = st.tuples(st.just("reserve"), cents.filter(bool), st.sampled_from([1, 40, 100]))
RECORD = st.tuples(st.just("record"), cents, which, st.booleans())
SETTLE = st.tuples(st.just("settle"), which, cents)
OTHER = st.one_of(
    st.tuples(st.just("record"), st.none() | cents, st.none() | which, st.booleans()),
    st.tuples(st.just("repeat"), which),
    st.tuples(st.just("wait"), st.sampled_from([1, 1, 40, 29 * 86_400])),
    st.tuples(st.just("set"), st.booleans()),
)
STEPS = st.lists(st.one_of(RESERVE, RECORD, SETTLE, OTHER), min_size=12, max_size=40)


MONTHS = """
SELECT m.month, m.spent, m.reserved,
       (SELECT coalesce(sum(r.amount), 0) FROM usage.reservations r
         WHERE r.account_id = m.account_id AND r.budget_id = m.budget_id AND r.month = m.month AND r.is_live)
  FROM usage.budget_months m WHERE m.account_id = $1
"""


@dataclass
class Held:
    """A reservation, as it should be."""

    name: str
    month: Any
    amount: Decimal
    expires_at: datetime
    settled: Decimal | None = None
    recorded: Decimal | None = None


@dataclass
class Model:
    """One budget of the whole account, as it should be."""

    account: UUID
    now: datetime = NOW
    plain: dict[Any, Decimal] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)
    events: list[UsageLogged] = field(default_factory=list)

    def spent(self, month: Any) -> Decimal:
        truths = [
            each.settled if each.recorded is None else each.recorded
            for each in self.held
            if each.month == month
        ]
        return self.plain.get(month, Decimal(0)) + sum(each for each in truths if each is not None)

    def reserved(self, month: Any) -> Decimal:
        return sum(
            (
                each.amount
                for each in self.held
                if each.month == month
                and each.expires_at > self.now
                and each.settled is None
                and each.recorded is None
            ),
            Decimal(0),
        )


async def take(step: Any, model: Model, ingest: Ingest, rater: Rater, budget: Any) -> None:
    """Do one step, and say in the model what should come of it."""
    month = month_of(model.now)
    match step:
        case "record", cost, place, earlier:
            held = model.held[-1 - place % len(model.held)] if model.held and place is not None else None
            at = NOW if earlier else model.now
            event = costing(
                None if cost is None else f"{cost}",
                model.account,
                occurred_at=at,
                reservation_id=None if held is None else UUID(held.name),
            )
            model.events.append(event)
            if cost is not None and held is not None and held.recorded is None:
                held.recorded = cost
            elif cost is not None:
                model.plain[month_of(at)] = model.plain.get(month_of(at), Decimal(0)) + cost
            await rater.record(event)
        case "repeat", place:
            if model.events:
                await rater.record(model.events[place % len(model.events)])
        case "reserve", amount, lifetime:
            name = str(uuid4())
            fits = model.spent(month) + model.reserved(month) + amount <= AMOUNT
            try:
                await ask(
                    ingest,
                    budget,
                    "reserve",
                    model.account,
                    amount=float(amount),
                    expires_in_s=lifetime,
                    reservation_id=name,
                )
            except BudgetExceededError:
                assert not fits
            else:
                assert fits
                model.held.append(Held(name, month, amount, model.now + timedelta(seconds=lifetime)))
        case "settle", place, cost:
            if model.held:
                held = model.held[-1 - place % len(model.held)]
                try:
                    await ask(
                        ingest, budget, "settle", model.account, reservation_id=held.name, cost=float(cost)
                    )
                except ConflictError:
                    assert held.settled not in (None, cost)
                else:
                    assert held.settled in (None, cost)
                    held.settled = cost
        case "wait", seconds:
            model.now = ingest.clock.at = ingest.clock.at + timedelta(seconds=seconds)
        case "set", smaller:
            await put(ingest, a_budget(19.99 if smaller else 20), account=model.account)
            await put(ingest, a_budget(20), account=model.account)


@pytest.fixture
async def pair(street: Street) -> tuple[Ingest, Rater]:
    return await street.open_ingest(), Rater(await street.open_recorder())


@hypothesis.settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS)
async def test_any_order_of_steps_keeps_the_sums_true_and_grants_no_more_than_there_is(
    pair: tuple[Ingest, Rater], steps: list[Any]
) -> None:
    ingest, rater = pair
    ingest.clock.at = NOW
    model = Model(new_account())
    [budget] = await put(ingest, a_budget(20), account=model.account)
    for step in steps:
        await take(step, model, ingest, rater, budget)
        [found] = await get(ingest, model.account)
        month = month_of(model.now)
        assert (found["id"], found["month"]) == (budget["id"], f"{month:%Y-%m}")
        assert (found["spent"], found["reserved"]) == (model.spent(month), model.reserved(month)), step
    # Of all months, by the tables: `reserved` counts what holds something by now, or did when last looked at.
    async with ingest.database.connection() as connection:
        rows = await connection.fetch(MONTHS, model.account)
    for month, spent, reserved, live in rows:
        assert spent == model.spent(month)
        assert reserved == live
