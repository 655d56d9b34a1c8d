"""`usage rebuild`: sums from rows, and rows from the topic, equal to the last digit with what was there."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from services.ingest.latency import bucket_of, list_bucket_starts_ms
from services.ingest.rebuild import Rebuilt, rebuild_rollups
from services.ingest.reprice import reprice
from services.ingest.store.recount import CountFound, SumsFound, replace_day
from shared.contracts.topics import USAGE_LOGGED
from shared.event_log.postgres.trim import Trimmer
from shared.money import plain
from tests.operations.budgets import use_budgets
from tests.operations.works import NOW, A, B, C, Works, an_event

ON_POSTGRES = pytest.mark.parametrize("kind", ["postgres"])
TABLES = ("logs", "rollups", "latency_rollups", "months", "retention", "claims", "positions")
EMPTY_ALL = "TRUNCATE " + ", ".join(f"usage.{table}" for table in TABLES)


def a_varied_event(chance: random.Random, account_id: UUID) -> Any:
    """Something with everything that a sum could stumble over."""
    digits = Decimal(chance.randrange(10**12)).scaleb(-chance.randrange(18))
    cost = chance.choice([None, "0", plain(digits)])
    return an_event(
        chance.randrange(50),
        account_id,
        occurred_at=chance.choice(
            [
                NOW - timedelta(seconds=chance.randrange(200_000), microseconds=chance.randrange(10**6)),
                datetime(2031, 5, 1, tzinfo=UTC) - timedelta(microseconds=chance.randrange(2)),
                datetime(1, 1, 2, tzinfo=UTC),
                datetime(9999, 12, 29, 23, 59, 59, 999999, tzinfo=UTC),
            ]
        ),
        provider=chance.choice(["openai", "OpenAI", "ÖPENAI", "\u212a"]),
        model=chance.choice(["m-1", "M-1", "résumé"]),
        origin=chance.choice([None, "", "web"]),
        alias=chance.choice([None, "", "a\x1fb", "😀" * 255]),
        latency_ms=chance.choice([None, 0, 1, 100, 101, 102, 250, 10**6, 10**12]),
        client_cost=cost,
        cost=cost,
        metadata=msgspec.Raw(b'{"a": [1, "\\u00e9"]}'),
    )


async def rebuild(works: Works, *, only_check: bool = False) -> tuple[Rebuilt, list[SumsFound | CountFound]]:
    differences: list[SumsFound | CountFound] = []
    outcome = await rebuild_rollups(
        works.database, differences.append, lambda accounts, days: None, only_check=only_check
    )
    return outcome, differences


async def contents(works: Works, *tables: str) -> dict[str, list[str]]:
    """Everything in some tables, as text."""
    return {
        table: [
            row[0] for row in await works.fetch(f"SELECT each::text FROM usage.{table} AS each ORDER BY 1")
        ]
        for table in tables
    }


async def without_instants(works: Works) -> dict[str, list[str]]:
    """All that a rebuild must bring back; when a position was moved is another matter."""
    found = await contents(works, *TABLES[:-1])
    positions = await works.fetch("SELECT partition, next_offset FROM usage.positions ORDER BY 1")
    return found | {"positions": [str(tuple(row)) for row in positions]}


@ON_POSTGRES
async def test_the_two_ways_to_add_up_agree_on_everything(works: Works) -> None:
    chance = random.Random(3)
    await works.accept(*(a_varied_event(chance, chance.choice([A, B, C])) for _ in range(400)))
    await works.work_off()
    outcome, differences = await rebuild(works, only_check=True)
    assert differences == []
    assert outcome == Rebuilt(accounts=3, differences=0, days=0)


def test_a_latency_is_in_the_bucket_whose_start_it_has_reached() -> None:
    starts = list_bucket_starts_ms(2**53)
    assert starts == sorted(starts)
    chance = random.Random(7)
    samples = [*range(3_000), *(chance.randrange(2**53) for _ in range(3_000))]
    samples += [start + step for start in starts for step in (-1, 0, 1)]
    for latency_ms in samples:
        reached = sum(start <= latency_ms for start in starts) if latency_ms < 3_000 else None
        if reached is not None:
            assert reached == bucket_of(latency_ms), latency_ms
    for number, start in enumerate(starts, start=1):
        assert bucket_of(start) >= number > bucket_of(start - 1)


@ON_POSTGRES
async def test_whatever_was_done_to_the_sums_is_put_right(works: Works) -> None:
    chance = random.Random(4)
    await works.accept(*(a_varied_event(chance, chance.choice([A, B, C])) for _ in range(200)))
    await works.work_off()
    before = await contents(works, "rollups", "latency_rollups")
    await works.execute(
        f"DELETE FROM usage.rollups WHERE account_id = '{A}'",
        f"UPDATE usage.rollups SET cost = cost + 1e-18 WHERE account_id = '{B}' AND grain = 'q'",
        "UPDATE usage.latency_rollups SET requests = requests + 1",
        "INSERT INTO usage.latency_rollups SELECT account_id, grain, bucket_at, '', '', '', '', 7, 9"
        f" FROM usage.rollups WHERE account_id = '{C}' LIMIT 1 ON CONFLICT DO NOTHING",
    )
    checked, found = await rebuild(works, only_check=True)
    assert checked.differences == len(found) > 100
    assert await contents(works, "rollups") != {"rollups": before["rollups"]}
    outcome, _ = await rebuild(works)
    assert outcome.differences == checked.differences
    assert outcome.days > 3
    assert await contents(works, "rollups", "latency_rollups") == before
    assert (await rebuild(works))[0] == Rebuilt(accounts=3, differences=0, days=0)


@ON_POSTGRES
async def test_raters_may_run_meanwhile(works: Works) -> None:
    await works.accept(*(an_event(number, (A, B, C)[number % 3]) for number in range(100)))

    async def spoil_and_rebuild(work: asyncio.Task[None]) -> int:
        days = rounds = 0
        while rounds < 6 or not work.done():
            await works.execute("DELETE FROM usage.rollups", "DELETE FROM usage.latency_rollups")
            days += (await rebuild(works))[0].days
            rounds += 1
        return days

    async def log_on() -> None:
        for number in range(60):
            await works.accept(*(an_event(number + each, (A, B, C)[each % 3]) for each in range(20)))
            await asyncio.sleep(0.01)
        await works.wait_until_rated(seconds=120)

    async with works.rating(), asyncio.TaskGroup() as group:
        work = group.create_task(log_on())
        days = await spoil_and_rebuild(work)
    assert days > 6
    # What a rater has added after the last deletion is whole; a day that it then never touched is not.
    assert (await rebuild(works))[0].differences >= 0
    assert (await rebuild(works))[0].differences == 0
    assert await works.fetchval("SELECT sum(requests) FROM usage.rollups WHERE grain = 'd'") == 1_300


@ON_POSTGRES
async def test_a_rater_waits_for_a_day_and_not_longer(works: Works) -> None:
    await works.accept(an_event())
    await works.work_off()
    day_at = NOW.replace(hour=0)
    await works.accept(an_event(1))
    async with works.rating():
        async with works.database.transaction() as connection:
            await replace_day(connection, A, day_at)
            await asyncio.sleep(0.5)
            assert await works.fetchval("SELECT count(*) FROM usage.logs") == 1
            assert await works.fetchval("SELECT count(*) FROM usage.rollups") == 2  # readers do not wait
        await works.wait_until_rated()
    assert await works.fetchval("SELECT count(*) FROM usage.logs") == 2
    assert (await rebuild(works))[0].differences == 0


async def test_everything_comes_back_from_the_topic(works: Works) -> None:
    chance = random.Random(5)
    keyed = an_event(3, idempotency_key="k", body_digest=b"d" * 32)
    varied = [
        # Priced as the works price it: the command, which does not know their version, takes its word.
        await reprice(a_varied_event(chance, chance.choice([A, B, C])), works.pricebook)  # type: ignore[arg-type]  # stands in its place
        for _ in range(1_500)
    ]
    await works.accept(*varied, keyed, keyed, b"\xff")
    await works.work_off()
    before = await without_instants(works)
    receipts = await works.fetchval("SELECT count(*) FROM receipts.receipts")
    await works.fetch(EMPTY_ALL)
    printed = await works.run("usage", "rebuild", "--from-topic")
    assert printed.status == 0, printed.err
    assert "1503 records of usage.logged were recorded" in printed.out
    assert "1503 of 1503 records" in printed.err
    assert await without_instants(works) == before
    await works.accept(an_event(9))
    await works.work_off()
    assert await works.fetchval("SELECT count(*) FROM usage.logs") == len(before["logs"]) + 1
    assert await works.fetchval("SELECT count(*) FROM receipts.receipts") == receipts + 1
    findings = await works.verify()
    assert findings.is_clean, findings.told


@ON_POSTGRES
async def test_what_budgets_have_spent_comes_back_with_what_no_record_tells(works: Works) -> None:
    await use_budgets(works)
    tables = ("budgets", "budget_months", "reservations")
    before = await contents(works, *tables)
    assert len(before["budget_months"]) == 2
    await works.fetch(EMPTY_ALL)
    printed = await works.run("usage", "rebuild", "--from-topic")
    assert printed.status == 1
    assert "not empty: budget_months" in printed.err
    await works.fetch("TRUNCATE usage.budget_months")
    printed = await works.run("usage", "rebuild", "--from-topic")
    assert printed.status == 0, printed.err
    assert await contents(works, *tables) == before


@ON_POSTGRES
async def test_a_refill_refuses_tables_that_are_not_empty(works: Works) -> None:
    await works.accept(an_event())
    await works.work_off()
    before = await without_instants(works)
    printed = await works.run("usage", "rebuild", "--from-topic")
    assert printed.status == 1
    assert "logs, rollups, latency_rollups, months, positions" in printed.err
    await works.fetch(
        "TRUNCATE usage.logs, usage.latency_rollups, usage.months, usage.retention, usage.positions"
    )
    printed = await works.run("usage", "rebuild", "--from-topic")
    assert "not empty: rollups. Nothing was done." in printed.err
    assert (await contents(works, "rollups"))["rollups"] == before["rollups"]


@ON_POSTGRES
async def test_a_refill_refuses_a_topic_that_is_not_whole(works: Works) -> None:
    await works.accept(*(an_event(number) for number in range(10)))
    await works.work_off()
    await works.fetch("UPDATE event_log.records SET appended_at = '2020-01-01' WHERE record_offset < 4")
    await Trimmer(works.database, {USAGE_LOGGED: timedelta(days=1)}, {}).trim()
    await works.fetch(EMPTY_ALL)
    printed = await works.run("usage", "rebuild", "--from-topic")
    assert printed.status == 1
    assert "begins at 4" in printed.err
    printed = await works.run("usage", "rebuild", "--from-topic", "--accept-gaps")
    assert printed.status == 0, printed.err
    assert await works.fetchval("SELECT count(*) FROM usage.logs") == 6


@ON_POSTGRES
async def test_a_record_whose_version_is_gone_keeps_its_own_cost(works: Works) -> None:
    await works.accept(*(an_event(number) for number in range(5)))
    await works.work_off()
    before = await without_instants(works)
    await works.fetch(EMPTY_ALL)
    # The command reads the registry's own tables, and there is no version of 2031 in them.
    printed = await works.run("usage", "rebuild", "--from-topic")
    assert printed.status == 0, printed.err
    assert "5 records keep their own cost: there is no registry version 2031.05.01." in printed.out
    assert await without_instants(works) == before


@ON_POSTGRES
async def test_a_rater_that_is_at_work_stops_a_refill(works: Works) -> None:
    await works.accept(*(an_event(number) for number in range(10)))
    await works.work_off()
    await works.fetch(EMPTY_ALL.replace(", usage.claims", ""))

    async def as_if_a_rater_came_first(part: Any) -> None:
        async with works.database.transaction() as connection:
            await works.rater_positions.advance(
                connection, "rater", USAGE_LOGGED, part.partition, expected=0, next_offset=3
            )
        await works.recorder.record(part)

    from services.ingest.refill import OvertakenError, refill_from_topic

    class Overtaken:
        record = staticmethod(as_if_a_rater_came_first)

    with pytest.raises(OvertakenError):
        await refill_from_topic(
            database=works.database,
            event_log=works.event_log,
            positions=works.rater_positions,
            recorder=Overtaken(),  # type: ignore[arg-type]  # stands in its place
            on_progress=lambda done, total: None,
            accept_gaps=False,
        )
    assert await works.fetchval("SELECT count(*) FROM usage.logs") == 0


@ON_POSTGRES
async def test_the_command_tells_and_puts_right(works: Works) -> None:
    await works.accept(*(an_event(number) for number in range(10)))
    await works.work_off()
    await works.execute("UPDATE usage.rollups SET requests = requests + 1 WHERE grain = 'd'")
    checked = await works.run("usage", "rebuild", "--check")
    assert checked.status == 1
    assert "instead of" in checked.out
    assert "differences." in checked.out
    rebuilt = await works.run("usage", "rebuild")
    assert (rebuilt.status, "1 days were added up anew" in rebuilt.out) == (0, True), rebuilt.err
    again = await works.run("usage", "rebuild", "--check")
    assert (again.status, again.out) == (0, "1 accounts, 0 differences.\n")
