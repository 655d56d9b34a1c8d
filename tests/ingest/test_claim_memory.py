"""While Postgres is away, the cache decides alone only as long as it has forgotten nothing of late."""

import asyncio
import json
import time
from datetime import timedelta

import pytest

from services.ingest.claim_cache import Debts
from services.ingest.claim_memory import RECALL
from services.ingest.firsts import MemoryFirsts
from shared.errors import InvalidFieldError, UnavailableError
from shared.redis import Firsts, open_redis
from tests.conftest import StartServer
from tests.ingest.conftest import Way
from tests.ingest.house import FalteringLog, Ingest, Street
from tests.ingest.test_claims import assert_recorded_as_answered, later, log_soon
from tests.servers.redis import ask_redis

pytestmark = pytest.mark.redis


def empty(redis_url: str) -> None:
    """Take everything out of one database of Redis."""
    host, _, number = redis_url.removeprefix("redis://").partition("/")
    ask_redis(host, f"SELECT {number}", "FLUSHDB")


async def refuses(ingest: Ingest, key: str, **fields: int) -> bool:
    """Whether a record is not taken in, for the time being."""
    try:
        await ingest.log(key, **fields)
    except UnavailableError:
        return True
    return False


async def test_an_emptied_redis_decides_nothing_alone(
    street: Street, to_postgres: Way, redis_url: str
) -> None:
    ingest = await street.open_ingest(url=to_postgres.url, redis_url=redis_url)
    before = await ingest.log("before")
    await to_postgres.link.cut()
    alone = await ingest.log("alone")
    empty(redis_url)
    for key in ("before", "alone", "new"):
        assert await refuses(ingest, key)
        assert await refuses(ingest, key, output_tokens=101)
        await ingest.start()
    await ingest.log()  # a record without a key goes on
    later(ingest)
    await street.rate_all()
    await to_postgres.link.open()
    assert await log_soon(ingest, "before") == before
    assert await ingest.log("alone") == alone
    with pytest.raises(InvalidFieldError):
        await ingest.log("alone", output_tokens=101)


async def test_what_redis_lost_is_copied_from_postgres(
    street: Street, to_postgres: Way, redis_url: str
) -> None:
    log = FalteringLog(street.event_log)
    ingest = await street.open_ingest(url=to_postgres.url, redis_url=redis_url, event_log=log)
    stored = await ingest.log("stored")
    await street.rate_all()
    log.fail_after = 1
    with pytest.raises(UnavailableError):
        await ingest.log("unheard")
    empty(redis_url)
    await street.rate_all()
    await ingest.start()
    await to_postgres.link.cut()
    later(ingest)
    assert await ingest.log("stored") == stored
    for key in ("stored", "unheard"):
        with pytest.raises(InvalidFieldError):
            await ingest.log(key, output_tokens=101)
    unheard = await ingest.log("unheard")
    assert json.loads(unheard)["timestamp"] == json.loads(stored)["timestamp"]
    new = await ingest.log("new")
    await to_postgres.link.open()
    await assert_recorded_as_answered(street, [stored, unheard, new])


async def test_a_redis_that_comes_back_with_what_it_once_saved_decides_nothing_alone(
    street: Street, to_postgres: Way, own_server: StartServer
) -> None:
    server = own_server("redis")
    url = f"redis://{server.address}"
    ingest = await street.open_ingest(url=to_postgres.url, redis_url=url)
    saved = await ingest.log("saved")
    ask_redis(server.address, "SAVE")
    not_saved = await ingest.log("not saved")
    server.kill()
    server.start()
    assert ask_redis(server.address, "DBSIZE").startswith(":")
    assert ask_redis(server.address, "DBSIZE") != ":0\r\n"
    await to_postgres.link.cut()
    started_anew = await street.open_ingest(url=to_postgres.url, redis_url=url)
    assert await refuses(started_anew, "not saved", output_tokens=101)
    assert await refuses(started_anew, "saved")
    await to_postgres.link.open()
    await street.rate_all()
    await log_soon(started_anew, "once Postgres is seen again")
    await street.rate_all()
    await asyncio.sleep(3)  # others notice that it is back, and then the newest claims are copied
    await to_postgres.link.cut()
    assert await started_anew.log("saved") == saved
    assert await started_anew.log("not saved") == not_saved


async def test_what_was_accepted_alone_and_lost_by_redis_waits_for_the_rater(
    street: Street, to_postgres: Way, redis_url: str
) -> None:
    ingest = await street.open_ingest(url=to_postgres.url, redis_url=redis_url)
    await to_postgres.link.cut()
    alone = [await ingest.log(key) for key in ("a", "b", "c")]
    empty(redis_url)
    await to_postgres.link.open()
    later(ingest)
    refused = asyncio.create_task(log_soon(ingest, "a"))
    for _ in range(8):
        assert await refuses(ingest, "b", output_tokens=101)
    assert not refused.done()
    assert await street.fetch("SELECT FROM usage.claims WHERE claimed_at > $1", ingest.clock.at) == []
    await street.rate_all()
    assert [await refused, await ingest.log("b"), await ingest.log("c")] == alone
    with pytest.raises(InvalidFieldError):
        await ingest.log("b", output_tokens=101)
    await assert_recorded_as_answered(street, alone)


async def test_what_redis_could_not_be_told_it_learns_before_it_decides(
    street: Street, to_postgres: Way, to_redis: Way, redis_url: str
) -> None:
    ingest = await street.open_ingest(url=to_postgres.url, redis_url=to_redis.url)
    other = await street.open_ingest(url=to_postgres.url, redis_url=redis_url)
    await to_redis.link.cut()
    answers = {key: await ingest.log(key) for key in ("a", "b")}
    await to_redis.link.open()
    await to_postgres.link.cut()
    assert await log_soon(ingest, "a") == answers["a"]
    later(other)
    assert await log_soon(other, "b") == answers["b"]


async def test_claims_that_are_too_old_are_not_copied(street: Street, to_postgres: Way) -> None:
    ingest = await street.open_ingest()
    old = await ingest.log("old")
    ingest.clock.at += RECALL + timedelta(seconds=1)
    young = await ingest.log("young")
    await street.rate_all()
    at = ingest.clock.at + timedelta(seconds=1)
    later_on = await street.open_ingest(url=to_postgres.url, claim_cache=MemoryFirsts(), at=at)
    await to_postgres.link.cut()
    assert await later_on.log("young") == young
    assert await later_on.log("old") != old


async def test_what_was_taken_after_both_were_away_is_known_to_redis_as_well(
    street: Street, to_postgres: Way, to_redis: Way
) -> None:
    ingest = await street.open_ingest(url=to_postgres.url, redis_url=to_redis.url)
    await to_postgres.link.cut()
    await to_redis.link.cut()
    with pytest.raises(UnavailableError):
        await ingest.log("k")
    await to_postgres.link.open()
    answer = await log_soon(ingest, "k")
    await to_redis.link.open()
    await street.rate_all()
    await asyncio.sleep(2)
    await to_postgres.link.cut()
    later(ingest)
    assert await log_soon(ingest, "k") == answer
    with pytest.raises(InvalidFieldError):
        await ingest.log("k", output_tokens=101)


async def test_what_a_process_could_not_tell_redis_before_it_died_the_next_one_tells(
    street: Street, to_postgres: Way, to_redis: Way, redis_url: str
) -> None:
    log = FalteringLog(street.event_log)
    dying = await street.open_ingest(redis_url=to_redis.url, event_log=log)
    await to_redis.link.cut()
    answer = await dying.log("k")
    await street.rate_all()
    anew = await street.open_ingest(url=to_postgres.url, redis_url=redis_url)
    await asyncio.sleep(0.5)
    await to_postgres.link.cut()
    later(anew)
    assert await anew.log("k") == answer
    with pytest.raises(InvalidFieldError):
        await anew.log("k", output_tokens=101)


async def test_a_postgres_that_went_back_in_time_is_not_believed_before_the_rater_has_come(
    street: Street, to_postgres: Way, redis_url: str
) -> None:
    ingest = await street.open_ingest(url=to_postgres.url, redis_url=redis_url)
    answer = await ingest.log("k")
    await street.rate_all()
    assert await ingest.figures() == (1, True)
    await to_postgres.link.cut()
    await asyncio.sleep(1)
    for table in ("claims", "logs", "positions", "rollups", "latency_rollups"):
        await street.fetch(f"DELETE FROM usage.{table}")
    empty(redis_url)
    await to_postgres.link.open()
    later(ingest)
    async with asyncio.timeout(20):
        while not await refuses(ingest, "k", output_tokens=101):  # noqa: ASYNC110 - as long as it is away
            await asyncio.sleep(0.1)
    await asyncio.sleep(3)
    assert await refuses(ingest, "k", output_tokens=101)
    await street.rate_all()
    assert await log_soon(ingest, "k") == answer


async def test_debts_are_paid_once_however_many_wait_and_cost_nothing_while_they_cannot_be(
    to_redis: Way,
) -> None:
    redis = await open_redis(to_redis.url)
    cache = Firsts(redis, "debts:", timedelta(minutes=1))
    debts = Debts(cache)
    for number in range(5000):
        debts.add(b"%032d" % number, bytes(1000))
    await to_redis.link.cut()
    began = time.process_time()
    for _ in range(50):
        with pytest.raises(UnavailableError):
            await debts.pay()
    assert time.process_time() - began < 1
    await to_redis.link.open()
    async with asyncio.timeout(20):
        while redis.is_away:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.1)
    await asyncio.gather(*(debts.pay() for _ in range(64)))
    for number in range(0, 5000, 499):
        assert await cache.find(b"%032d" % number) == bytes(1000)
    await redis.close()
