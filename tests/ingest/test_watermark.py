"""A read is complete, or says that it is not, whichever process took the record in."""

import asyncio
import time
from datetime import timedelta
from uuid import UUID

import pytest

from services.ingest import watermark as watermarks
from services.ingest.watermark import Watermark
from shared.event_log.port import Position
from shared.redis.client import DEFAULT_TIME_LIMIT
from tests.ingest.conftest import Way
from tests.ingest.house import B, FalteringLog, Ingest, Street
from tests.servers.redis import ask_redis

pytestmark = pytest.mark.redis


def flush(redis_url: str) -> None:
    """Empty Redis, as a restart would."""
    host, _, number = redis_url.removeprefix("redis://").partition("/")
    ask_redis(host, f"SELECT {number}", "FLUSHDB")


async def log_often(ingest: Ingest) -> float:
    """How many seconds 50 records take."""
    started = time.monotonic()
    for _ in range(50):
        await ingest.log()
    return time.monotonic() - started


async def test_a_read_in_one_process_waits_for_what_another_accepted(street: Street, redis_url: str) -> None:
    writer = await street.open_ingest(redis_url=redis_url)
    hasty = await street.open_ingest(redis_url=redis_url, read_wait_ms=300)
    patient = await street.open_ingest(redis_url=redis_url, read_wait_ms=20_000)
    await writer.log()
    assert await hasty.figures() == (0, False)
    async with street.rating():
        for count in range(2, 12):
            await writer.log()
            assert await patient.figures() == (count, True)
            assert await patient.figures(B) == (0, True)


async def test_others_do_not_wait_for_an_account_that_is_behind(street: Street, redis_url: str) -> None:
    writer = await street.open_ingest(redis_url=redis_url)
    reader = await street.open_ingest(redis_url=redis_url, read_wait_ms=4_000)
    assert await reader.figures(B) == (0, True)
    await writer.log()
    started = time.monotonic()
    assert await reader.figures(B) == (0, True)
    assert time.monotonic() - started < 3
    assert await reader.figures() == (0, False)


async def test_without_redis_a_read_waits_for_all_that_was_acknowledged(
    street: Street, redis_url: str, to_redis: Way
) -> None:
    writer = await street.open_ingest(redis_url=redis_url)
    hasty = await street.open_ingest(redis_url=to_redis.url, read_wait_ms=300)
    patient = await street.open_ingest(redis_url=to_redis.url, read_wait_ms=20_000)
    await to_redis.link.cut()
    await writer.log()
    assert await hasty.figures() == (0, False)
    async with street.rating():
        await writer.log()
        assert await patient.figures() == (2, True)
    await writer.log()
    await to_redis.link.open()
    await asyncio.sleep(1.5)
    assert await hasty.figures() == (2, False)


async def test_what_was_accepted_without_redis_is_waited_for_after_its_return(
    street: Street, to_redis: Way
) -> None:
    writer = await street.open_ingest(redis_url=to_redis.url)
    reader = await street.open_ingest(redis_url=to_redis.url, read_wait_ms=500)
    await reader.settle(0)
    await to_redis.link.cut()
    await reader.settle(0)
    await writer.log()
    await to_redis.link.open()
    for _ in range(5):
        await asyncio.sleep(0.5)
        assert await reader.figures() == (0, False)
    await street.rate_all()
    await reader.settle(1)


@pytest.mark.parametrize("how", ["cut", "swallow"])
async def test_accepting_does_not_suffer_from_a_redis_that_is_away(
    street: Street, to_redis: Way, how: str
) -> None:
    writer = await street.open_ingest(redis_url=to_redis.url, redis_limit=DEFAULT_TIME_LIMIT)
    as_a_rule_s = await log_often(writer)
    await to_redis.link.cut() if how == "cut" else to_redis.link.swallow()
    assert await log_often(writer) < 3 * as_a_rule_s + 0.5
    assert len(await street.logged()) == 100


async def test_a_redis_that_lost_its_memory_does_not_make_a_read_complete(
    street: Street, redis_url: str
) -> None:
    writer = await street.open_ingest(redis_url=redis_url)
    reader = await street.open_ingest(redis_url=redis_url, read_wait_ms=500)
    await reader.settle(0)
    await writer.log()
    flush(redis_url)
    assert await reader.figures() == (0, False)
    assert await reader.figures() == (0, False)
    await street.rate_all()
    await reader.settle(1)


async def test_a_rater_that_is_far_behind_does_not_make_a_read_complete(
    street: Street, redis_url: str
) -> None:
    writer = await street.open_ingest(redis_url=redis_url, read_wait_ms=100, watermark_s=1)
    reader = await street.open_ingest(redis_url=redis_url, read_wait_ms=100, watermark_s=1)
    await writer.log()
    for _ in range(8):
        assert await reader.figures() == (0, False)
        assert await writer.figures() == (0, False)
        await asyncio.sleep(0.3)


async def test_a_process_that_starts_late_waits_for_what_came_before(street: Street, redis_url: str) -> None:
    writer = await street.open_ingest(redis_url=redis_url)
    await writer.log()
    flush(redis_url)
    reader = await street.open_ingest(redis_url=redis_url, read_wait_ms=100)
    assert await reader.figures() == (0, False)


async def test_when_nobody_can_tell_a_read_is_answered_as_incomplete(street: Street, to_redis: Way) -> None:
    log = FalteringLog(street.event_log)
    reader = await street.open_ingest(redis_url=to_redis.url, event_log=log, read_wait_ms=500)
    await reader.log()
    await street.rate_all()
    log.is_deaf = True
    await to_redis.link.cut()
    started = time.monotonic()
    assert await reader.figures() == (1, False)
    assert time.monotonic() - started < 5
    log.is_deaf = False
    await reader.settle(1)


async def test_one_process_alone_remembers_more_accounts_than_it_keeps(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watermarks, "MAX_ACCOUNTS", 3)
    applied: dict[int, int] = {}

    async def load_applied() -> dict[int, int]:
        return applied

    mark = Watermark(load_applied)
    at_most = timedelta(milliseconds=100)
    accounts = [UUID(int=number) for number in range(10)]
    for offset, account in enumerate(accounts):
        await mark.accepted(account, Position(0, offset))
    assert not await mark.wait(accounts[0], at_most)
    applied[0] = 7
    assert await mark.wait(accounts[0], at_most)
    assert not await mark.wait(accounts[9], at_most)
    applied[0] = 10
    assert await mark.wait(accounts[9], at_most)
