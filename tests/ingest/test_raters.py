"""Raters that meet: nothing is lost or counted twice, and they never wait for one another in a circle."""

import asyncio
import json
import random
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
import pytest

from shared.contracts.topics import USAGE_DEAD, USAGE_LOGGED, USAGE_RATED
from shared.contracts.usage import UsageLogged
from shared.event_log.port import FencedError, Slice, StoredRecord
from shared.ids import uuid7
from tests.ingest.conftest import Way
from tests.ingest.house import NOW, A, Street

MODELS = [f"m-{number}" for number in range(12)]


def an_event(model: str = "m-1", **changes: Any) -> UsageLogged:
    """An accepted record of one account."""
    fields: dict[str, Any] = {
        "log_id": uuid7(),
        "account_id": A,
        "key_id": A,
        "occurred_at": NOW,
        "received_at": NOW,
        "provider": "openai",
        "model": model,
        "model_key": f"openai:{model}",
        "input_tokens": 7,
        "output_tokens": 3,
        "calculated_cost": "0.000013",
        "calculated_status": "priced",
        "cost": "0.000013",
        "cost_status": "priced",
        "registry_version": "2031.05.01",
    }
    return UsageLogged(**fields | changes)


def a_slice(events: Iterable[UsageLogged], *, partition: int, first: int) -> Slice:
    """Events as the event log would hand them over."""
    records = [
        StoredRecord(USAGE_LOGGED, partition, first + index, b"k", msgspec.json.encode(event), (), NOW)
        for index, event in enumerate(events)
    ]
    return Slice(USAGE_LOGGED, partition, tuple(records), first)


async def deadlocks(street: Street) -> int:
    """How many the server has counted for this database, its own connections being closed."""
    await asyncio.sleep(1.5)  # a backend reports at most once a second
    [row] = await street.fetch(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    )
    return int(row["deadlocks"])


@pytest.mark.slow
async def test_two_raters_with_the_same_sums_in_opposite_order_do_not_deadlock(street: Street) -> None:
    before = await deadlocks(street)
    raters = [await street.open_recorder() for _ in range(2)]
    models = [f"m-{number}" for number in range(150)]
    rounds = 60
    for number in range(rounds):
        # Begun at the same moment, and long enough to meet half-way.
        await asyncio.gather(
            *(
                rater.record(
                    a_slice(
                        [an_event(model, latency_ms=random.randint(1, 9000)) for model in order],
                        partition=partition,
                        first=number * len(models),
                    )
                )
                for partition, (rater, order) in enumerate(zip(raters, (models, models[::-1]), strict=True))
            )
        )
    assert await deadlocks(street) == before
    assert len(await street.rows()) == 2 * rounds * len(models)
    await street.assert_rollups_add_up()


@pytest.mark.slow
async def test_raters_and_callers_with_the_same_keys_in_opposite_order_do_not_deadlock(
    street: Street,
) -> None:
    before = await deadlocks(street)
    one, other = [await street.open_recorder() for _ in range(2)]
    ingest = await street.open_ingest()

    size = 400

    def keyed(number: int) -> list[UsageLogged]:
        return [
            an_event(log_id=uuid7(), body_digest=random.randbytes(32), idempotency_key=f"{number}")
            for _ in range(size)
        ]

    for number in range(10):
        events = keyed(number)
        logs = [
            {"provider": "openai", "model": "m-1", "idempotency_key": f"k{number}-{each}"}
            for each in range(size)
        ]
        await asyncio.gather(
            one.record(a_slice(events, partition=0, first=number * size)),
            other.record(a_slice(events[::-1], partition=1, first=number * size)),
            ingest.call("POST", "/api/v1/log/batch", {"logs": logs}),
            ingest.call("POST", "/api/v1/log/batch", {"logs": logs[::-1]}),
        )
    assert await deadlocks(street) == before
    assert len(await street.rows()) == 10 * size
    await street.assert_rollups_add_up()


async def test_a_slice_with_many_sums_is_added_up_to_the_end(street: Street) -> None:
    recorder = await street.open_recorder()
    events = [an_event(f"m-{number}", latency_ms=number) for number in range(250)]
    await recorder.record(a_slice(events, partition=0, first=0))
    [row] = await street.fetch("SELECT count(*) FROM usage.rollups WHERE grain = 'd'")
    assert row["count"] == 250
    await street.assert_rollups_add_up()


FAIL_ONCE = """
CREATE SEQUENCE usage.tries;
CREATE FUNCTION usage.fail_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('usage.tries') = 1 THEN RAISE 'at the first try' USING ERRCODE = '{code}'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fail_once BEFORE INSERT ON usage.{table} FOR EACH STATEMENT EXECUTE FUNCTION usage.fail_once();
"""


@pytest.mark.parametrize("code", ["40P01", "53100", "22012"])
@pytest.mark.parametrize("table", ["positions", "logs", "claims", "rollups", "latency_rollups", "months"])
async def test_a_failure_at_the_first_try_is_tried_again_and_not_forgotten(
    street: Street, table: str, code: str
) -> None:
    ingest = await street.open_ingest()
    await ingest.log("k", latency_ms=7)
    await street.fetch("DELETE FROM usage.claims")  # so that the rater has to write one
    database = await street.open_database()
    async with database.connection() as connection:
        await connection.execute(FAIL_ONCE.format(table=table, code=code))
    await street.rate_all()
    [tries] = await street.fetch("SELECT last_value FROM usage.tries")
    assert tries["last_value"] >= 2
    assert len(await street.rows()) == 1
    assert len(await street.logged(USAGE_RATED)) == 1
    await street.assert_rollups_add_up()


async def test_a_slice_is_applied_by_one_of_two_raters_that_both_believe_to_own_it(street: Street) -> None:
    raters = [await street.open_recorder() for _ in range(2)]
    part = a_slice([an_event(model) for model in MODELS], partition=0, first=0)
    outcomes = await asyncio.gather(*(rater.record(part) for rater in raters), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [FencedError]
    assert len(await street.rows()) == len(MODELS)
    await street.assert_rollups_add_up()


async def test_a_record_delivered_again_counts_once(street: Street) -> None:
    recorder = await street.open_recorder()
    digest = bytes(32)
    events = [an_event(), an_event(body_digest=digest, idempotency_key="k")]
    await recorder.record(a_slice([*events, *events], partition=0, first=0))
    await recorder.record(a_slice(events, partition=0, first=4))
    await recorder.record(a_slice(events, partition=1, first=0))
    assert len(await street.rows()) == 2
    assert await street.logged(USAGE_DEAD) == []
    await street.assert_rollups_add_up()


async def test_the_first_of_two_bodies_counts_and_the_other_is_set_aside(street: Street) -> None:
    recorder = await street.open_recorder()
    first = an_event(body_digest=bytes(32), idempotency_key="k")
    other = msgspec.structs.replace(first, body_digest=b"\1" * 32, output_tokens=4)
    # In one slice, in the next one, and behind an event from before digests were written.
    await recorder.record(a_slice([first, other], partition=0, first=0))
    await recorder.record(a_slice([other], partition=0, first=2))
    old = an_event(idempotency_key="old")
    await recorder.record(a_slice([old, old], partition=0, first=3))
    assert [row["output_tokens"] for row in await street.rows()] == [3, 3]
    assert [json.loads(dead)["output_tokens"] for dead in await street.logged(USAGE_DEAD)] == [4, 4]
    await street.assert_rollups_add_up()


async def test_a_record_waits_for_postgres_and_what_follows_waits_behind_it(
    street: Street, to_postgres: Way
) -> None:
    ingest = await street.open_ingest()
    await ingest.log(timestamp="2031-05-03T11:00:00Z")
    await to_postgres.link.cut()
    async with street.rating(to_postgres.url):
        await ingest.log(timestamp="2031-05-03T11:00:01Z")
        await asyncio.sleep(1)
        assert await street.fetch("SELECT FROM usage.positions") == []
        to_postgres.link.swallow()
        await to_postgres.link.open()
        await ingest.log(timestamp="2031-05-03T11:00:02Z")
        await asyncio.sleep(1)
        assert await street.fetch("SELECT FROM usage.positions") == []
        to_postgres.link.let_through()
        async with asyncio.timeout(30):
            while len(await street.rows()) < 3:  # noqa: ASYNC110 - the table rings no bell
                await asyncio.sleep(0.1)
    rated = [json.loads(value)["occurred_at"] for value in await street.logged(USAGE_RATED)]
    assert list(dict.fromkeys(rated)) == [f"2031-05-03T11:00:0{second}Z" for second in range(3)]
    assert [row["occurred_at"] for row in await street.rows()] == [
        datetime.fromisoformat(at) for at in sorted(set(rated))
    ]
    await street.assert_rollups_add_up()


async def test_a_rater_that_is_stopped_while_it_fails_skips_nothing(street: Street, to_postgres: Way) -> None:
    ingest = await street.open_ingest()
    for _ in range(10):
        await ingest.log()  # before any rater was there
    await to_postgres.link.cut()
    async with street.rating(to_postgres.url):
        await asyncio.sleep(1)
    assert await street.rows() == []
    await street.rate_all()
    assert len(await street.rows()) == 10
