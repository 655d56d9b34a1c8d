"""A new budget by key begins with exactly what its month has cost, and nobody waits while that is counted."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from services.ingest import count_before
from services.ingest.month import month_of
from services.ingest.record import Recorder
from services.ingest.store.begin_budgets import sum_slice
from services.ingest.store.recount_budgets import list_wrong_budgets
from services.ingest.store.retention import delete_old
from shared.contracts.topics import BUDGETS_CROSSED
from shared.contracts.usage import UsageLogged
from shared.errors import UnavailableError
from shared.money import EXACT, ZERO
from shared.postgres import Database, open_snapshot
from tests.ingest.house import KEY, NOW, A, Ingest, Street
from tests.ingest.spending import MAY, NowKnown, Rater, a_budget, costing, get, new_account, priced_late, put
from tests.ingest.test_raters import FAIL_ONCE

OTHER = UUID(int=8)
BY_KEY = a_budget(scope="key", value=str(KEY))
TIMES = (timedelta(days=-2), timedelta(hours=-1), timedelta(0), timedelta(hours=1), timedelta(days=-30))

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("record"),
            st.sampled_from((None, "0.1", "3", "0.0000000000000000000000000001")),
            st.booleans(),
            st.sampled_from(TIMES),
        ),
        st.tuples(st.just("late"), st.integers(0, 9)),
        st.tuples(st.just("put"), st.booleans()),
        st.tuples(st.just("forget")),
        st.tuples(st.just("nothing")),
    ),
    max_size=12,
)


@dataclass
class Model:
    """One account, and what its month has cost by one key."""

    account: UUID
    events: list[UsageLogged] = field(default_factory=list)

    def due(self) -> tuple[Decimal, int]:
        mine = [each for each in self.events if each.key_id == KEY and month_of(each.occurred_at) == MONTH]
        return (
            functools.reduce(EXACT.add, (Decimal(each.cost) for each in mine if each.cost is not None), ZERO),
            sum(each.cost is None for each in mine),
        )


MONTH = month_of(NOW)


@dataclass
class Scene:
    """A process that makes budgets, a record at a time, and a rater."""

    ingest: Ingest
    recorder: Recorder
    rater: Rater
    database: Database
    between: Callable[[], Awaitable[None]] | None = None


@pytest.fixture
async def scene(street: Street, monkeypatch: pytest.MonkeyPatch) -> Scene:
    ingest = await street.open_ingest(budget_slice=1)
    recorder = await street.open_recorder()
    made = Scene(ingest, recorder, Rater(recorder), await street.open_database())

    async def sum_and_go_on(*args: Any) -> Any:
        if made.between is not None:
            await made.between()
        return await sum_slice(*args)

    monkeypatch.setattr(count_before, "sum_slice", sum_and_go_on)
    return made


async def take(step: Any, model: Model, scene: Scene) -> None:
    """Something that happens while a budget is counted."""
    match step:
        case "record", cost, mine, time:
            event = costing(cost, model.account, key_id=KEY if mine else OTHER, occurred_at=NOW + time)
            model.events.append(event)
            await scene.rater.record(event)
        case "late", place:
            if unpriced := [each for each in model.events if each.cost is None]:
                event = priced_late(unpriced[place % len(unpriced)])
                model.events = [event if each.log_id == event.log_id else each for each in model.events]
                known, scene.recorder._pricebook = scene.recorder._pricebook, NowKnown()  # type: ignore[assignment]  # stands in its place
                await scene.rater.record(event)
                scene.recorder._pricebook = known
        case "put", whole:
            between, scene.between = scene.between, None
            await put(scene.ingest, *([BY_KEY] if whole else []), account=model.account)
            scene.between = between
        case ("forget",):
            # Of the month before: what is deleted of this one is not counted by whoever comes later.
            async with scene.database.transaction() as connection:
                await delete_old(connection, model.account, NOW - timedelta(days=20), 100)
            model.events = [each for each in model.events if each.occurred_at >= NOW - timedelta(days=20)]


async def wrong(database: Database) -> list[Any]:
    """What an audit finds wrong with budgets."""
    async with open_snapshot(database.url, application_name="test") as connection:
        return [each async for each in list_wrong_budgets(connection)]


@hypothesis.settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=STEPS, meanwhile=STEPS, after=STEPS)
async def test_whatever_happens_meanwhile_the_sum_is_that_of_the_rated_records(
    scene: Scene, before: list[Any], meanwhile: list[Any], after: list[Any]
) -> None:
    model = Model(new_account())
    scene.between = None
    for step in before:
        if step[0] != "put":
            await take(step, model, scene)
    waiting = list(meanwhile)

    async def go_on() -> None:
        if waiting:
            await take(waiting.pop(0), model, scene)

    scene.between = go_on
    [made] = await put(scene.ingest, BY_KEY, account=model.account)
    scene.between = None
    assert (made["spent"], made["unpriced_requests"]) == model.due()
    for step in [*waiting, *after]:
        await take(step, model, scene)
    found = await get(scene.ingest, model.account) or await put(scene.ingest, BY_KEY, account=model.account)
    assert [(each["spent"], each["unpriced_requests"]) for each in found] == [model.due()]
    assert await wrong(scene.database) == []
    async with scene.database.connection() as connection:
        left = "SELECT count(*) FROM usage.budgets WHERE counting_until IS NOT NULL"
        assert await connection.fetchval(left) == 0


async def test_raters_and_readers_do_not_wait_while_a_budget_is_counted(street: Street, scene: Scene) -> None:
    [kept] = await put(scene.ingest, a_budget())
    await scene.rater.record(costing("1"))
    counting, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        counting.set()
        await go_on.wait()

    scene.between = wait
    making = asyncio.create_task(put(scene.ingest, a_budget(), BY_KEY))
    async with asyncio.timeout(9):
        await counting.wait()
        await scene.rater.record(costing("60"), costing("2", new_account()))
        [now] = await get(scene.ingest)
        assert (now["id"], now["spent"]) == (kept["id"], 61)
        scene.between = None
        [other] = await put(scene.ingest, a_budget(7, "origin", "web"))
        assert len(await street.logged(BUDGETS_CROSSED)) == 1, "what nobody sees yet tells nothing"
        go_on.set()
        made = await making
    assert [each["spent"] for each in made] == [61, 61], "the last one to set budgets sets them all"
    assert made[0]["id"] != other["id"]
    assert len(await street.logged(BUDGETS_CROSSED)) == 3


async def test_a_process_that_dies_while_it_counts_leaves_nothing_that_anybody_sees(
    street: Street, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die() -> None:
        raise UnavailableError("The database is away.")

    async def leave(*_: object) -> None:
        pass

    await scene.rater.record(costing("1"))
    scene.between = die
    with monkeypatch.context() as patch:
        patch.setattr(count_before.NewBudgets, "_discard", leave)
        with pytest.raises(UnavailableError):
            await put(scene.ingest, BY_KEY)
    scene.between = None
    await scene.rater.record(costing("200"))
    assert await get(scene.ingest) == []
    assert await street.logged(BUDGETS_CROSSED) == []
    assert await wrong(scene.database) == []
    [made] = await put(scene.ingest, BY_KEY)
    assert made["spent"] == 201
    async with scene.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM usage.budgets") == 2
        await connection.execute(
            "UPDATE usage.budgets SET counting_until = now() WHERE counting_until IS NOT NULL"
        )
    await put(scene.ingest, BY_KEY, a_budget(scope="key", value=str(OTHER)))
    async with scene.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM usage.budgets") == 2
    assert [each["spent"] for each in await get(scene.ingest)] == [201, 0]


@pytest.mark.parametrize("at", ["slice", "store"])
async def test_a_failure_while_a_budget_is_made_leaves_all_as_it_was(
    street: Street, scene: Scene, at: str
) -> None:
    async def fail() -> None:
        raise UnavailableError("The database is away.")

    await scene.rater.record(costing("1"), costing("2"))
    kept = await put(scene.ingest, a_budget())
    if at == "slice":
        scene.between = fail
    else:
        async with scene.database.connection() as connection:
            await connection.execute(FAIL_ONCE.format(table="budget_months", code="40P01"))
    with pytest.raises(UnavailableError) as refused:
        await put(scene.ingest, a_budget(7), BY_KEY)
    assert refused.value.retry_after is not None
    assert await get(scene.ingest) == kept
    assert len(await street.fetch("SELECT FROM usage.budgets")) == 1
    scene.between = None
    assert [each["spent"] for each in await put(scene.ingest, a_budget(7), BY_KEY)] == [3, 3]


async def test_several_who_make_the_same_budget_at_once_make_one(street: Street) -> None:
    processes = [await street.open_ingest(budget_slice=2) for _ in range(3)]
    rater = Rater(await street.open_recorder())
    await rater.record(*(costing("1") for _ in range(9)))

    async def rate() -> None:
        for _ in range(10):
            await rater.record(costing("1"))

    answers = await asyncio.gather(*(put(each, BY_KEY) for each in processes for _ in range(3)), rate())
    ids = {each[0]["id"] for each in answers if each is not None}
    assert len(ids) == 1
    [found] = await get(processes[0])
    assert (found["spent"], found["month"]) == (19, MAY)
    rows = await street.fetch("SELECT counting_until FROM usage.budgets WHERE account_id = '%s'" % A)  # noqa: UP031
    assert [row["counting_until"] for row in rows] == [None]


async def test_a_month_that_turns_while_it_is_counted_is_in_the_sums(street: Street, scene: Scene) -> None:
    await scene.rater.record(costing("1"))

    async def turn() -> None:
        scene.between = None
        scene.ingest.clock.at = datetime(2031, 6, 1, tzinfo=NOW.tzinfo)
        await scene.rater.record(costing("2"), costing("4", occurred_at=scene.ingest.clock.at))

    scene.between = turn
    [made] = await put(scene.ingest, BY_KEY)
    assert (made["month"], made["spent"]) == ("2031-06", 4)
    scene.ingest.clock.at = NOW
    assert [(each["month"], each["spent"]) for each in await get(scene.ingest)] == [(MAY, 3)]
