"""The check finds every single thing that is corrupted by hand, and nothing where all is well."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from services.audit.findings import KINDS, Findings, Kind
from shared.contracts.topics import USAGE_DEAD, USAGE_LOGGED, USAGE_RATED
from shared.contracts.usage import CostLine, UsageRated
from shared.event_log.port import EventLog, Position, Record
from shared.event_log.postgres.trim import Trimmer
from shared.ids import uuid7
from tests.operations.budgets import use_budgets
from tests.operations.corruptions import ANY, CORRUPTIONS, LAST_ROW
from tests.operations.works import NOW, A, B, C, Works, a_record, an_event

ON_POSTGRES = pytest.mark.parametrize("kind", ["postgres"])
COUNT = 60


def some_events(count: int = COUNT) -> list[Any]:
    return [an_event(number, (A, B, C)[number % 3]) for number in range(count)]


async def fill(works: Works, count: int = COUNT) -> None:
    await works.accept(*some_events(count))
    await works.work_off()


def kinds(findings: Findings) -> dict[Kind, int]:
    return {kind: findings.counts[kind] for kind in KINDS if findings.counts[kind]}


async def test_all_is_well_after_ordinary_work(works: Works) -> None:
    await fill(works)
    findings = await works.verify()
    document = findings.as_document()
    assert findings.is_clean, findings.told
    assert {name: document[name] for name in ("topic", "stored", "rolled_up", "receipted")} == dict.fromkeys(
        ("topic", "stored", "rolled_up", "receipted"), COUNT
    )
    assert document["lag"] == document["dead"] == document["lost"] == document["beyond_topic"] == 0


async def test_an_empty_deployment_is_well(works: Works) -> None:
    findings = await works.verify()
    assert findings.is_clean
    assert findings.as_document()["topic"] == 0


async def test_what_comes_twice_is_no_difference(works: Works) -> None:
    events = some_events(20)
    await works.accept(*events, *events[:7])
    await works.work_off()
    await works.accept(*events[10:])
    await works.work_off()
    findings = await works.verify()
    assert findings.is_clean, findings.told
    assert findings.topic == findings.stored == 20


async def test_what_is_not_worked_off_is_lag(works: Works) -> None:
    await fill(works)
    await works.accept(*some_events(10))
    findings = await works.verify()
    assert (findings.is_clean, findings.rater_lag, findings.issuer_lag) == (True, 10, 0)
    async with works.rating():
        await works.wait_until_rated()
    findings = await works.verify()
    assert (findings.is_clean, findings.rater_lag, findings.issuer_lag) == (True, 0, 10)
    assert (findings.topic, findings.stored, findings.receipted) == (COUNT + 10, COUNT + 10, COUNT)


async def test_a_deployment_under_load_is_well_at_every_moment(works: Works) -> None:
    await fill(works)

    async def log_on() -> None:
        while True:
            await works.accept(*some_events(7))
            await asyncio.sleep(0.01)

    async with works.rating(), works.issuing():
        logging = asyncio.create_task(log_on())
        for _ in range(5):
            findings = await works.verify()
            assert findings.is_clean, findings.told
            assert findings.topic == findings.stored == findings.rolled_up
        logging.cancel()
        await works.wait_until_rated()


@ON_POSTGRES
async def test_what_budgets_have_counted_is_held_against_records_and_reservations(works: Works) -> None:
    await use_budgets(works)
    findings = await works.verify()
    assert findings.is_clean, findings.told
    for corruption, count in (
        ("UPDATE usage.budget_months SET spent = spent + 1e-18", 2),
        ("UPDATE usage.budget_months SET spent = spent - 1e-18, unpriced = 1", 2),
        ("UPDATE usage.budget_months SET unpriced = 0, reserved = reserved + 7", 2),
        ("DELETE FROM usage.budget_months", 2),
    ):
        await works.execute(corruption)
        findings = await works.verify()
        assert kinds(findings) == {"budget": count}, corruption
        assert findings.told[0].account_id == A
        assert "month 2031-05: " in findings.told[0].detail


@ON_POSTGRES
@pytest.mark.parametrize("what", CORRUPTIONS)
async def test_what_is_corrupted_is_found_and_nothing_else(works: Works, what: str) -> None:
    statements, expected = CORRUPTIONS[what]
    await fill(works)
    await works.execute(*statements)
    findings = await works.verify()
    found = kinds(findings)
    assert found == {kind: found.get(kind) if count is ANY else count for kind, count in expected.items()}
    assert all(difference.detail for difference in findings.told)


@ON_POSTGRES
async def test_a_difference_says_whose_record_it_is(works: Works) -> None:
    events = some_events()
    await works.accept(*events)
    await works.work_off()
    await works.fetch("DELETE FROM usage.logs WHERE log_id = $1", events[4].log_id)
    (lost,) = [each for each in (await works.verify()).told if each.kind == "lost"]
    assert (lost.account_id, lost.log_id) == (events[4].account_id, events[4].log_id)
    assert lost.detail.startswith("usage.logged/")


@ON_POSTGRES
async def test_a_rated_event_that_was_lost_is_a_missing_receipt(works: Works) -> None:
    await fill(works)
    await works.accept(*some_events(6))

    class Forgetful:
        """A log that says it has appended what is rated, and has not."""

        def __init__(self, log: EventLog) -> None:
            self._log = log

        def __getattr__(self, name: str) -> Any:
            return getattr(self._log, name)

        async def append(self, topic: str, records: list[Record]) -> list[Position]:
            return [] if topic == USAGE_RATED else await self._log.append(topic, records)

    works.recorder._event_log = Forgetful(works.event_log)  # type: ignore[assignment]  # stands in its place
    async with works.rating():
        await works.wait_until_rated()
    assert kinds(await works.verify()) == {"receipt_missing": 6}


async def test_poison_that_was_set_aside_is_accounted_for(works: Works) -> None:
    await works.accept(*some_events(), b"\xff", b"[]")
    strange = an_event(1)
    rated = UsageRated(**{name: getattr(strange, name) for name in strange.__struct_fields__}, rated_at=NOW)
    rated.input_tokens = 2**60
    await works.event_log.append(USAGE_RATED, [a_record(rated)])
    await works.work_off()
    findings = await works.verify()
    assert findings.is_clean, findings.told
    assert (findings.dead, findings.topic, findings.stored) == (3, COUNT, COUNT)


@ON_POSTGRES
async def test_a_row_whose_receipt_was_set_aside_is_accounted_for(works: Works) -> None:
    await works.accept(an_event(metadata=msgspec.Raw(b"[1]")))
    await works.work_off()
    findings = await works.verify()
    assert findings.is_clean, findings.told
    assert (findings.dead, findings.stored, findings.receipted) == (1, 1, 0)


@ON_POSTGRES
async def test_poison_that_was_passed_and_not_set_aside_is_found(works: Works) -> None:
    await works.accept(*some_events(), b"\xff", b"[]")
    await works.work_off()
    await works.fetch(
        "DELETE FROM event_log.records WHERE record_offset = 1 AND partition_id ="
        " (SELECT partition_id FROM event_log.partitions WHERE topic = $1)",
        USAGE_DEAD,
    )
    findings = await works.verify()
    assert kinds(findings) == {"not_set_aside": 1}
    assert findings.as_document()["lost"] == 1
    assert "cannot be decoded" in findings.told[0].detail


@ON_POSTGRES
async def test_a_record_without_its_version_is_held_against_its_own_word(works: Works) -> None:
    await fill(works)
    works.pricebook.missing.add("2031.05.01")
    findings = await works.verify()
    assert findings.is_clean, findings.told
    assert findings.unknown_versions == {"2031.05.01": COUNT}


@ON_POSTGRES
async def test_a_record_that_came_with_a_wrong_price_has_the_right_one(works: Works) -> None:
    wrong = an_event(calculated_cost="5", cost="5", cost_breakdown=[CostLine("input", 1000, "5000", "5")])
    await works.accept(*some_events(), wrong)
    await works.work_off()
    assert (await works.verify()).is_clean
    await works.fetch("UPDATE usage.logs SET cost = 4 WHERE log_id = $1", wrong.log_id)
    findings = await works.verify()
    (told,) = [each for each in findings.told if each.kind == "wrong_cost"]
    assert told.detail == "the row has 4, its record 0.0012 or 5"


@ON_POSTGRES
async def test_of_two_bodies_with_one_log_id_the_first_one_counts(works: Works) -> None:
    log_id = uuid7()
    first = an_event(1, log_id=log_id, idempotency_key="k", body_digest=b"1" * 32)
    second = an_event(2, log_id=log_id, idempotency_key="k", body_digest=b"2" * 32)
    await works.accept(first)
    await works.work_off()
    await works.accept(second)
    await works.work_off()
    findings = await works.verify()
    assert findings.is_clean, findings.told
    assert (findings.dead, findings.topic, findings.stored) == (1, 1, 1)


@ON_POSTGRES
async def test_rows_from_before_the_topic_begins_are_not_called_doubled(works: Works) -> None:
    long_ago = NOW - timedelta(days=1)
    old = [an_event(number, received_at=long_ago) for number in range(10)]
    await works.accept(*old)
    await works.work_off()
    await works.accept(*(an_event(number) for number in range(5)))
    await works.work_off()
    await works.fetch(
        "UPDATE event_log.records SET appended_at ="
        " CASE WHEN record_offset < 10 THEN now() - interval '2 years' ELSE $1::timestamptz END",
        NOW,
    )
    trimmer = Trimmer(works.database, {USAGE_LOGGED: timedelta(days=365)}, {})
    assert await trimmer.trim() == 10
    findings = await works.verify()
    assert findings.is_clean, findings.told
    assert (findings.topic, findings.stored, findings.beyond_topic) == (5, 15, 10)
    await works.fetch(
        "UPDATE usage.logs SET received_at = $1 WHERE received_at = $2", NOW + timedelta(days=1), long_ago
    )
    assert kinds(await works.verify()) == {"doubled": 10}


def test_every_kind_of_difference_is_tried() -> None:
    tried = {kind for _, expected in CORRUPTIONS.values() for kind in expected}
    assert tried | {"not_set_aside"} == set(KINDS)


class TrimmedMeanwhile:
    """An event log that is trimmed right after somebody has asked where it begins."""

    def __init__(self, event_log: EventLog, trimmer: Trimmer) -> None:
        self._event_log = event_log
        self._trimmer = trimmer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event_log, name)

    async def begins(self, topic: str) -> dict[int, int]:
        begins = await self._event_log.begins(topic)
        await self._trimmer.trim()
        return begins


@ON_POSTGRES
async def test_rows_whose_records_go_while_it_looks_are_not_called_doubled(works: Works) -> None:
    await works.accept(*(an_event(n, received_at=NOW - timedelta(days=30)) for n in range(30)))
    await works.work_off()
    await works.fetch("UPDATE event_log.records SET appended_at = now() - interval '30 days'")
    await works.accept(*(an_event(n, received_at=NOW) for n in range(5)))
    await works.work_off()
    await works.fetch(
        "UPDATE event_log.records SET appended_at = $1 WHERE appended_at > now() - interval '1 day'", NOW
    )
    trimmer = Trimmer(works.database, {USAGE_LOGGED: timedelta(days=7)}, {})
    works.event_log = TrimmedMeanwhile(works.event_log, trimmer)  # type: ignore[assignment]  # stands in its place
    findings = await works.verify()
    assert findings.is_clean, dict(findings.counts)
    assert findings.beyond_topic


@ON_POSTGRES
async def test_the_command_prints_what_it_found(works: Works) -> None:
    await fill(works)
    await works.execute(f"DELETE FROM usage.logs WHERE log_id = {LAST_ROW}")
    printed = await works.run("doctor", "--verify", "--json")
    assert printed.status == 1, printed.err
    document = json.loads(printed.out)
    assert (document["lost"], document["clean"], document["stored"]) == (1, False, COUNT - 1)
    assert {each["kind"] for each in document["differences"]} >= {"lost", "rollup"}
