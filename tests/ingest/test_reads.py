"""Reads tell the truth about what is not counted yet, and soon say when Postgres is away."""

import asyncio
import json
import time
from uuid import uuid4

import pytest

from shared.errors import NotFoundError, UnavailableError
from tests.ingest.conftest import Way
from tests.ingest.house import Ingest, Street

PATHS = ["/api/v1/stats", "/api/v1/logs", "/api/v1/logs?format=ndjson", f"/api/v1/logs/{uuid4()}"]


async def get(ingest: Ingest, path: str) -> bytes:
    return (await ingest.call("GET", path)).body


@pytest.mark.parametrize("how", ["cut", "swallow"])
async def test_reads_say_soon_that_postgres_is_away_and_heal_by_themselves(
    street: Street, to_postgres: Way, how: str
) -> None:
    ingest = await street.open_ingest(url=to_postgres.url)
    await ingest.log()
    await street.rate_all()
    for path in PATHS[:3]:
        await get(ingest, path)
    await to_postgres.link.cut() if how == "cut" else to_postgres.link.swallow()
    for path in [*PATHS, *PATHS]:
        started = time.monotonic()
        with pytest.raises(UnavailableError) as refused:
            await get(ingest, path)
        assert time.monotonic() - started < 8
        assert refused.value.retry_after
    started = time.monotonic()
    outcomes = await asyncio.gather(*(get(ingest, path) for path in PATHS * 10), return_exceptions=True)
    assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
    assert time.monotonic() - started < 8
    await to_postgres.link.open() if how == "cut" else to_postgres.link.let_through()
    async with asyncio.timeout(20):
        while True:
            try:
                [entry] = json.loads(await get(ingest, "/api/v1/logs"))
                break
            except UnavailableError:
                await asyncio.sleep(0.1)
    assert entry["model"] == "m-1"


@pytest.mark.slow
async def test_connections_that_lead_nowhere_after_a_failover_are_replaced(
    street: Street, to_postgres: Way
) -> None:
    ingest = await street.open_ingest(url=to_postgres.url)
    await asyncio.gather(*(get(ingest, "/api/v1/logs") for _ in range(30)))
    to_postgres.link.forget()
    async with asyncio.timeout(90):
        while True:
            outcomes = await asyncio.gather(
                *(get(ingest, "/api/v1/logs") for _ in range(30)), return_exceptions=True
            )
            if not any(isinstance(outcome, BaseException) for outcome in outcomes):
                break
            await asyncio.sleep(0.1)


async def test_a_slow_answer_of_a_postgres_that_lives_is_waited_for(
    street: Street, to_postgres: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A new connection over this link is ten pieces on their way: a busy machine may take half a second.
    monkeypatch.setattr("services.ingest.presence._SIGN_OF_LIFE_S", 3.0)
    ingest = await street.open_ingest(url=to_postgres.url)
    await get(ingest, "/api/v1/logs")
    to_postgres.link.delay_s = 0.02
    database = await street.open_database()
    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE usage.logs IN ACCESS EXCLUSIVE MODE")
        reading = asyncio.create_task(get(ingest, "/api/v1/logs"))
        await asyncio.sleep(4)
        assert not reading.done()
    assert json.loads(await reading) == []


async def test_a_record_that_was_just_logged_is_never_unknown(street: Street) -> None:
    hasty = await street.open_ingest(read_wait_ms=100)
    log_id = json.loads(await hasty.log())["log_id"]
    pending = await hasty.call("GET", f"/api/v1/logs/{log_id}")
    assert pending.status == 202
    assert json.loads(pending.body) == {"id": log_id, "state": "pending"}
    ingest = await street.open_ingest(read_wait_ms=20_000)
    async with street.rating():
        for _ in range(20):
            log_id = json.loads(await ingest.log())["log_id"]
            found = await ingest.call("GET", f"/api/v1/logs/{log_id}")
            assert (found.status, json.loads(found.body)["id"]) == (200, log_id)
        with pytest.raises(NotFoundError):
            await ingest.call("GET", f"/api/v1/logs/{uuid4()}")


@pytest.mark.redis
async def test_it_is_known_to_every_process(street: Street, redis_url: str) -> None:
    writer = await street.open_ingest(redis_url=redis_url)
    hasty = await street.open_ingest(redis_url=redis_url, read_wait_ms=100)
    log_id = json.loads(await writer.log())["log_id"]
    assert (await hasty.call("GET", f"/api/v1/logs/{log_id}")).status == 202
    reader = await street.open_ingest(redis_url=redis_url, read_wait_ms=20_000)
    async with street.rating():
        for _ in range(20):
            log_id = json.loads(await writer.log())["log_id"]
            assert (await reader.call("GET", f"/api/v1/logs/{log_id}")).status == 200
