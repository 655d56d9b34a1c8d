"""One key is one record with one answer, whatever is away."""

import asyncio
import json
import time

import pytest

from shared.contracts.topics import USAGE_DEAD
from shared.errors import InvalidFieldError, UnavailableError
from shared.redis.client import DEFAULT_TIME_LIMIT
from tests.ingest.conftest import Way
from tests.ingest.house import FalteringLog, Ingest, Street
from tests.servers.redis import ask_redis

KEYS = [f"k-{number}" for number in range(30)]


def later(ingest: Ingest) -> None:
    """Let time pass and a registry version appear, so that an answer made anew would be another one."""
    ingest.clock.at = ingest.clock.at.replace(second=ingest.clock.at.second + 1)
    ingest.pricebook.version = "2031.05.02"


async def one_after_the_other(key: str, *doors: Ingest) -> list[bytes]:
    """What each of them answers, while others are asked for other keys."""
    return [await door.log(key) for door in doors]


async def log_soon(ingest: Ingest, key: str) -> bytes:
    """The answer to a record, once it is taken."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await ingest.log(key)
            except UnavailableError:
                await asyncio.sleep(0.1)


async def replay(ingest: Ingest, key: str, answer: bytes) -> float:
    """How many seconds 30 replays take, all answered alike."""
    started = time.monotonic()
    for _ in range(30):
        assert await ingest.log(key) == answer
    return time.monotonic() - started


async def assert_recorded_as_answered(street: Street, answers: list[bytes]) -> None:
    """One row for each of the answers, with the time that was answered; and the claims say the same."""
    await street.rate_all()
    told = {(a["log_id"], a["timestamp"]) for a in map(json.loads, answers)}
    rows = await street.rows()
    assert {(str(row["log_id"]), f"{row['occurred_at']:%Y-%m-%dT%H:%M:%SZ}") for row in rows} == told
    assert len(rows) == len(told) == len({log_id for log_id, _ in told})
    claims = await street.fetch("SELECT event FROM usage.claims")
    kept = [json.loads(row["event"]) for row in claims]
    assert {(event["log_id"], event["occurred_at"]) for event in kept} == told
    assert await street.logged(USAGE_DEAD) == []


@pytest.mark.redis
@pytest.mark.parametrize("how", ["cut", "swallow"])
async def test_keys_are_kept_while_postgres_is_away(
    street: Street, to_postgres: Way, redis_url: str, how: str
) -> None:
    ingest = await street.open_ingest(url=to_postgres.url, redis_url=redis_url)
    before = await ingest.log("before")
    await to_postgres.link.cut() if how == "cut" else to_postgres.link.swallow()

    started = time.monotonic()
    first = await ingest.log("k")
    assert time.monotonic() - started < 3, "less than the driver would wait"
    later(ingest)
    started = time.monotonic()
    for _ in range(20):
        assert await ingest.log("k") == first
        assert await ingest.log("before") == before
    with pytest.raises(InvalidFieldError):
        await ingest.log("k", output_tokens=101)
    with pytest.raises(InvalidFieldError):
        await ingest.log("before", output_tokens=101)
    assert time.monotonic() - started < 10, "those after the first do not wait"

    await to_postgres.link.open() if how == "cut" else to_postgres.link.let_through()
    assert await ingest.log("k") == first
    await assert_recorded_as_answered(street, [before, first])
    later(ingest)
    await asyncio.sleep(2)
    assert await ingest.log("k") == first
    with pytest.raises(InvalidFieldError):
        await ingest.log("k", output_tokens=101)


@pytest.mark.redis
async def test_a_replay_is_marked_as_one_while_postgres_is_away(
    street: Street, to_postgres: Way, redis_url: str
) -> None:
    ingest = await street.open_ingest(url=to_postgres.url, redis_url=redis_url)
    await to_postgres.link.cut()
    call = {"provider": "openai", "model": "m-1"}
    first = await ingest.call("POST", "/api/v1/log", call, key="k")
    later(ingest)
    again = await ingest.call("POST", "/api/v1/log", call, key="k")
    names = [[name for name, _ in answer.headers] for answer in (first, again)]
    assert [b"idempotent-replayed" in each for each in names] == [False, True]


@pytest.mark.redis
async def test_two_processes_agree_when_one_of_them_cannot_reach_postgres(
    street: Street, to_postgres: Way, redis_url: str
) -> None:
    cut_off = await street.open_ingest(url=to_postgres.url, redis_url=redis_url)
    in_touch = await street.open_ingest(redis_url=redis_url)
    later(in_touch)
    await to_postgres.link.cut()
    pairs = await asyncio.gather(
        *(asyncio.gather(cut_off.log(key), in_touch.log(key)) for key in KEYS),
        *(one_after_the_other(key + "'", in_touch, cut_off) for key in KEYS),
    )
    assert all(one == other for one, other in pairs)
    assert len({json.loads(one)["timestamp"] for one, _ in pairs}) == 2, "each of them was first at times"
    await assert_recorded_as_answered(street, [one for one, _ in pairs])
    assert [await in_touch.log(key) for key in KEYS] == [one for one, _ in pairs[: len(KEYS)]]


@pytest.mark.redis
async def test_bodies_that_differ_are_told_apart_across_processes(
    street: Street, to_postgres: Way, redis_url: str
) -> None:
    cut_off = await street.open_ingest(url=to_postgres.url, redis_url=redis_url)
    in_touch = await street.open_ingest(redis_url=redis_url)
    await to_postgres.link.cut()
    outcomes = await asyncio.gather(
        *(cut_off.log(key, output_tokens=1) for key in KEYS),
        *(in_touch.log(key, output_tokens=2) for key in KEYS),
        return_exceptions=True,
    )
    refused = [isinstance(outcome, InvalidFieldError) for outcome in outcomes]
    assert [one != other for one, other in zip(refused[: len(KEYS)], refused[len(KEYS) :], strict=True)]
    assert sum(refused) == len(KEYS)
    await assert_recorded_as_answered(street, [each for each in outcomes if isinstance(each, bytes)])


@pytest.mark.redis
async def test_nothing_is_accepted_when_neither_postgres_nor_redis_can_tell(
    street: Street, to_postgres: Way, to_redis: Way
) -> None:
    ingest = await street.open_ingest(url=to_postgres.url, redis_url=to_redis.url)
    await to_postgres.link.cut()
    await to_redis.link.cut()
    with pytest.raises(UnavailableError) as refused:
        await ingest.log("k")
    assert refused.value.retry_after
    assert await street.logged() == []
    await ingest.log()  # without a key neither of them is needed
    await to_redis.link.open()
    first = await log_soon(ingest, "k")
    await to_redis.link.cut()
    await to_postgres.link.open()
    await street.rate_all()  # before that Postgres does not know "k"
    await log_soon(ingest, "k2")
    await to_redis.link.open()
    await asyncio.sleep(1.5)
    later(ingest)
    assert await ingest.log("k") == first


@pytest.mark.redis
@pytest.mark.parametrize("how", ["cut", "swallow"])
async def test_redis_is_not_needed_while_postgres_is_there(street: Street, to_redis: Way, how: str) -> None:
    ingest = await street.open_ingest(redis_url=to_redis.url, redis_limit=DEFAULT_TIME_LIMIT)
    before = await ingest.log("before")
    as_a_rule_s = await replay(ingest, "before", before)
    await to_redis.link.cut() if how == "cut" else to_redis.link.swallow()
    first = await ingest.log("k")
    later(ingest)
    assert await replay(ingest, "before", before) < 3 * as_a_rule_s + 0.5
    await replay(ingest, "k", first)
    await assert_recorded_as_answered(street, [before, first])


@pytest.mark.redis
async def test_a_slow_postgres_is_waited_for_where_redis_cannot_decide(street: Street, to_redis: Way) -> None:
    ingest = await street.open_ingest(redis_url=to_redis.url)
    await ingest.log("warm")
    await to_redis.link.cut()
    call = {"provider": "openai", "model": "m-1"}
    database = await street.open_database()
    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE usage.claims IN ACCESS EXCLUSIVE MODE")
        waiting = asyncio.create_task(ingest.call("POST", "/api/v1/log", call, key="k"))
        await asyncio.sleep(1)  # longer than it may take where Redis can decide
    first = await waiting
    later(ingest)
    again = await ingest.call("POST", "/api/v1/log", call, key="k")
    names = [[name for name, _ in answer.headers] for answer in (first, again)]
    assert [b"idempotent-replayed" in each for each in names] == [False, True]
    assert first.body == again.body


@pytest.mark.redis
async def test_an_emptied_redis_costs_nothing(street: Street, redis_url: str) -> None:
    ingest = await street.open_ingest(redis_url=redis_url)
    log = FalteringLog(street.event_log)
    faltering = await street.open_ingest(redis_url=redis_url, event_log=log)
    first = await ingest.log("ik-7")
    log.fail_before = 1
    with pytest.raises(UnavailableError):
        await faltering.log("ik-8")
    await street.rate_all()
    host, _, number = redis_url.removeprefix("redis://").partition("/")
    ask_redis(host, f"SELECT {number}", "FLUSHDB")
    later(ingest)
    second = await ingest.log("ik-8")
    assert await ingest.log("ik-7") == first
    assert json.loads(second)["timestamp"] == json.loads(first)["timestamp"], (
        "the claim has outlived the failure"
    )
    await assert_recorded_as_answered(street, [first, second])


@pytest.mark.redis
@pytest.mark.parametrize("stored", [False, True])
async def test_what_was_not_acknowledged_can_be_sent_again(
    street: Street, redis_url: str, stored: bool
) -> None:
    log = FalteringLog(street.event_log)
    ingest = await street.open_ingest(redis_url=redis_url, event_log=log)
    log.fail_after, log.fail_before = int(stored), int(not stored)
    with pytest.raises(UnavailableError):
        await ingest.log("ik-7")
    later(ingest)
    answer = await ingest.log("ik-7")
    await assert_recorded_as_answered(street, [answer])


@pytest.mark.redis
async def test_a_claim_whose_commit_nobody_heard_of_stands(
    street: Street, to_postgres: Way, redis_url: str
) -> None:
    ingest = await street.open_ingest(url=to_postgres.url, redis_url=redis_url)
    await ingest.log("warm")
    to_postgres.link.delay_s = 0.6  # the claim arrives, but its answer comes after anybody waits for it
    answer = await ingest.log("k")
    to_postgres.link.delay_s = 0
    await asyncio.sleep(2.5)
    [row] = await street.fetch("SELECT event FROM usage.claims WHERE event LIKE '%\"k\"%'::bytea")
    assert json.loads(row["event"])["occurred_at"] == json.loads(answer)["timestamp"]
    later(ingest)
    assert await ingest.log("k") == answer
    other = await street.open_ingest()
    assert await other.log("k") == answer


@pytest.mark.redis
async def test_two_bodies_accepted_in_a_double_fault_are_not_lost_in_silence(
    street: Street, to_postgres: Way, to_redis: Way, redis_url: str
) -> None:
    without_redis = await street.open_ingest(redis_url=to_redis.url)
    without_postgres = await street.open_ingest(url=to_postgres.url, redis_url=redis_url)
    await to_redis.link.cut()
    await to_postgres.link.cut()
    stands = await without_redis.log("k", output_tokens=1)
    contradicts = await without_postgres.log("k", output_tokens=2)
    assert stands != contradicts
    same = await without_postgres.log("k2")
    later(without_redis)
    assert await without_redis.log("k2") != same
    await street.rate_all()
    assert sorted(row["output_tokens"] for row in await street.rows()) == [1, 100]
    [dead] = map(json.loads, await street.logged(USAGE_DEAD))
    assert dead["output_tokens"] == 2
    # What was recorded is what is answered from now on, also by those who had answered otherwise.
    await to_redis.link.open()
    await to_postgres.link.open()
    await asyncio.sleep(2)
    for each in (without_redis, without_postgres):
        assert await each.log("k", output_tokens=1) == stands
        assert await each.log("k2") == same
        with pytest.raises(InvalidFieldError):
            await each.log("k", output_tokens=2)


@pytest.mark.redis
async def test_a_batch_is_taken_in_while_postgres_is_away(
    street: Street, to_postgres: Way, redis_url: str
) -> None:
    ingest = await street.open_ingest(url=to_postgres.url, redis_url=redis_url)
    call = {"provider": "openai", "model": "m-1", "input_tokens": 7}
    batch = {"logs": [{**call, "idempotency_key": f"b-{number}"} for number in range(999)] + [call]}
    to_postgres.link.swallow()
    first = json.loads((await ingest.call("POST", "/api/v1/log/batch", batch)).body)
    later(ingest)
    again = json.loads((await ingest.call("POST", "/api/v1/log/batch", batch)).body)
    assert (first["accepted"], again["accepted"]) == (1000, 1000)
    assert again["results"][:999] == first["results"][:999]
    to_postgres.link.let_through()
    await street.rate_all()
    assert len(await street.rows()) == 1001
