"""Monthly quotas: exact whatever happens at once, by arrival, and never charged twice."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.month import end_of, month_of
from shared.contracts.topics import USAGE_LOGGED
from shared.errors import InvalidFieldError, QuotaExceededError, UnavailableError
from shared.event_log.port import Record
from tests.ingest.conftest import Way
from tests.ingest.house import CALL, A, B, FalteringLog, Ingest, Street
from tests.ingest.test_claim_memory import empty

LAST = datetime(2031, 1, 31, 23, 59, 59, tzinfo=UTC)


async def log(ingest: Ingest, quota: int, key: str | None = None, **fields: Any) -> bytes | None:
    """The answer to a record; None where the quota is used up."""
    try:
        return (await ingest.call("POST", "/api/v1/log", CALL | fields, key=key, quota=quota)).body
    except QuotaExceededError:
        return None


async def batch(ingest: Ingest, quota: int, logs: Sequence[dict[str, Any]]) -> list[bool]:
    """Which records of a batch were accepted."""
    answer = await ingest.call("POST", "/api/v1/log/batch", {"logs": logs}, quota=quota)
    return ["log_id" in each for each in json.loads(answer.body)["results"]]


def passed(answers: Sequence[bytes | None]) -> int:
    return sum(answer is not None for answer in answers)


async def test_of_fifty_at_once_on_the_last_unit_one_passes(street: Street) -> None:
    """Case P32 (a)."""
    ingest = await street.open_ingest()
    assert passed([await log(ingest, 3), await log(ingest, 3)]) == 2
    assert passed(await asyncio.gather(*(log(ingest, 3) for _ in range(50)))) == 1
    assert len(await street.logged()) == 3


@pytest.mark.redis
async def test_three_processes_let_pass_no_more_and_no_fewer_together(street: Street, redis_url: str) -> None:
    ingests = [await street.open_ingest(redis_url=redis_url) for _ in range(3)]
    answers = await asyncio.gather(*(log(ingests[n % 3], 100, f"k{n % 60}") for n in range(60)))
    assert passed(answers) == 60
    answers = await asyncio.gather(*(log(ingests[n % 3], 100) for n in range(90)))
    assert passed(answers) == 40
    assert passed(await asyncio.gather(*(log(each, 100, "k7") for each in ingests))) == 3
    await street.rate_all()
    assert len(await street.rows()) == 100


async def test_the_month_is_that_of_the_arrival_and_turns_over_on_the_second(street: Street) -> None:
    """Case P32 (b) and (d): by UTC, and whatever time a record claims for itself."""
    ingest = await street.open_ingest(at=LAST - timedelta(days=3))
    assert passed([await log(ingest, 1)]) == 1
    ingest.clock.at = LAST
    with pytest.raises(QuotaExceededError) as refused:
        await ingest.call("POST", "/api/v1/log", CALL, quota=1)
    assert refused.value.retry_after == timedelta(seconds=1)
    assert "2031-02-01T00:00:00Z" in refused.value.detail
    for dodge in ("2030-12-31T12:00:00Z", "2031-02-01T00:01:00Z"):
        assert await log(ingest, 1, timestamp=dodge) is None
    ingest.clock.at = LAST + timedelta(seconds=1)
    assert passed([await log(ingest, 1, timestamp="2031-01-31T10:00:00Z")]) == 1
    assert await log(ingest, 1) is None
    await street.rate_all()
    found = await street.fetch("SELECT month::text, records FROM usage.months ORDER BY 1")
    assert [tuple(row.values()) for row in found] == [("2031-01-01", 1), ("2031-02-01", 1)]
    stats = await ingest.call("GET", "/api/v1/stats?start_date=2031-01-31&end_date=2031-01-31")
    assert json.loads(stats.body)["total_requests"] == 1


@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=pytest.mark.redis)])
async def test_a_repeated_record_is_charged_once_and_answered_when_nothing_is_left(
    street: Street, request: pytest.FixtureRequest, *, shared: bool
) -> None:
    redis_url = request.getfixturevalue("redis_url") if shared else None
    ingest = await street.open_ingest(redis_url=redis_url)
    first = await log(ingest, 2, "k1")
    assert first is not None
    for _ in range(3):
        assert await log(ingest, 2, "k1") == first
    assert await batch(ingest, 2, [{**CALL, "idempotency_key": "k1"}] * 3) == [True] * 3
    assert await log(ingest, 2, "k2") is not None
    # One that was refused has claimed its key, and has to pay all the same when it comes again.
    for _ in range(2):
        assert await log(ingest, 2, "k3") is None
    with pytest.raises(InvalidFieldError):
        await log(ingest, 2, "k1", output_tokens=7)
    await street.rate_all()
    assert len(await street.rows()) == 2
    for key in ("k1", "k2"):
        assert await log(ingest, 2, key) is not None
    assert passed(await asyncio.gather(*(log(ingest, 3, "k3") for _ in range(5)))) == 5
    assert await log(ingest, 3) is None
    await street.rate_all()
    assert len(await street.rows()) == 3


async def test_a_batch_counts_each_record_and_is_cut_where_the_month_ends(street: Street) -> None:
    ingest = await street.open_ingest()
    assert await batch(ingest, 4, [CALL, {"model": ""}, CALL, CALL]) == [True, False, True, True]
    assert await batch(ingest, 4, [CALL, CALL, CALL]) == [True, False, False]
    for logs in ([CALL], [CALL, {"model": ""}]):
        with pytest.raises(QuotaExceededError) as refused:
            await batch(ingest, 4, logs)
        assert refused.value.retry_after is not None
    with pytest.raises(InvalidFieldError):
        await batch(ingest, 4, [{"model": ""}])


async def test_a_limit_holds_as_soon_as_it_is_told_and_each_account_has_its_own(street: Street) -> None:
    ingest = await street.open_ingest()
    assert passed([await log(ingest, 5) for _ in range(6)]) == 5
    assert await log(ingest, 6) is not None
    assert await log(ingest, 3) is None
    assert await log(ingest, 0) is None
    await ingest.log()
    await ingest.call("POST", "/api/v1/log", CALL, account=B, quota=1)
    with pytest.raises(QuotaExceededError):
        await ingest.call("POST", "/api/v1/log", CALL, account=B, quota=1)
    assert (await ingest.call("GET", "/api/v1/logs", quota=0)).status == 200


async def test_what_was_not_acknowledged_is_not_charged(street: Street) -> None:
    faltering = FalteringLog(street.event_log)
    ingest = await street.open_ingest(event_log=faltering)
    for key in (None, "k1", None):
        faltering.fail_before = 1
        with pytest.raises(UnavailableError):
            await log(ingest, 2, key)
    assert passed([await log(ingest, 2), await log(ingest, 2, "k1"), await log(ingest, 2)]) == 2


@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=pytest.mark.redis)])
async def test_a_new_process_or_an_emptied_redis_goes_on_from_what_is_stored(
    street: Street, request: pytest.FixtureRequest, *, shared: bool
) -> None:
    redis_url = request.getfixturevalue("redis_url") if shared else None
    ingest = await street.open_ingest(redis_url=redis_url)
    assert passed([await log(ingest, 5) for _ in range(3)]) == 3
    if redis_url is not None:
        empty(redis_url)
    else:
        ingest = await street.open_ingest()
    async with street.rating():  # what is in the event log and not stored yet counts as well
        assert passed(await asyncio.gather(*(log(ingest, 5) for _ in range(10)))) == 2
        assert await log(ingest, 5) is None


async def test_while_what_is_accepted_is_not_stored_it_goes_on_from_what_is_known(street: Street) -> None:
    """The rater stands still: the bound of ADR 18 is what it has not stored."""
    before = await street.open_ingest()
    assert passed([await log(before, 5) for _ in range(2)]) == 2
    await street.rate_all()
    assert passed([await log(before, 5) for _ in range(2)]) == 2
    ingest = await street.open_ingest(quota_wait_ms=100)
    assert passed([await log(ingest, 5) for _ in range(6)]) == 3  # two are not known: 7 instead of 5
    await street.rate_all()
    async with asyncio.timeout(10):
        while await ingest_used(ingest, 9) != 7:  # noqa: ASYNC110 - the count is begun beside
            await asyncio.sleep(0.1)
    assert await log(ingest, 7) is None
    assert await log(ingest, 8) is not None


@pytest.mark.redis
async def test_without_redis_each_goes_on_from_what_it_knew_and_all_agree_afterwards(
    street: Street, to_redis: Way
) -> None:
    limit = timedelta(milliseconds=300)
    one = await street.open_ingest(redis_url=to_redis.url, redis_limit=limit)
    other = await street.open_ingest(redis_url=to_redis.url, redis_limit=limit)
    assert passed([await log(one, 10) for _ in range(4)]) == 4
    await street.rate_all()
    await to_redis.link.cut()
    assert passed([await log(one, 10) for _ in range(8)]) == 6
    assert passed([await log(other, 10) for _ in range(8)]) == 6  # the bound: each what was left
    await street.rate_all()
    await to_redis.link.open()
    for each in (one, other):
        assert each.redis is not None
        async with asyncio.timeout(20):
            while each.redis.is_away:  # noqa: ASYNC110 - it is looked for now and then
                await asyncio.sleep(0.1)
    async with street.rating():
        assert await ingest_used(other, 16) == 16
        assert passed(await asyncio.gather(*(log(each, 18) for each in (one, other) * 4))) == 2


@pytest.mark.redis
async def test_without_postgres_the_shared_count_goes_on(
    street: Street, to_postgres: Way, redis_url: str
) -> None:
    ingests = [await street.open_ingest(url=to_postgres.url, redis_url=redis_url) for _ in range(2)]
    assert passed([await log(ingests[0], 5) for _ in range(2)]) == 2
    await to_postgres.link.cut()
    assert passed(await asyncio.gather(*(log(ingests[n % 2], 5) for n in range(10)))) == 3


async def test_a_late_price_and_a_redelivery_charge_nothing(street: Street) -> None:
    ingest = await street.open_ingest()
    [answer] = [await log(ingest, 5, "k1")]
    assert answer is not None
    await street.rate_all()
    [value] = await street.logged()
    event = json.loads(value)
    late = {**event, "repriced_at": "2031-05-04T00:00:00Z", "idempotency_key": None, "body_digest": None}
    await street.event_log.append(
        USAGE_LOGGED, [Record(str(A).encode(), json.dumps(each).encode()) for each in (event, late, event)]
    )
    await street.rate_all()
    assert await ingest_used(await street.open_ingest(), 5) == 1


async def ingest_used(ingest: Ingest, quota: int) -> int:
    answer = await ingest.call("GET", "/internal/month", quota=quota)
    return int(json.loads(answer.body)["records"])


async def test_what_is_used_is_told_with_the_month_and_its_end(street: Street) -> None:
    ingest = await street.open_ingest()
    await log(ingest, 5)
    answer = await ingest.call("GET", "/internal/month", quota=5)
    assert json.loads(answer.body) == {"month": "2031-05", "records": 1, "resets_at": "2031-06-01T00:00:00Z"}
    await street.rate_all()
    unlimited = await ingest.call("GET", "/internal/month")
    assert json.loads(unlimited.body) == json.loads(answer.body)


@given(st.integers(0, 8000 * 365 * 86_400), st.integers(-14, 14))
def test_every_instant_lies_in_its_month(second: int, hours: int) -> None:
    at = datetime(1900, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    instant = at.astimezone(timezone(timedelta(hours=hours)))
    month = month_of(instant)
    begin = datetime(month.year, month.month, 1, tzinfo=UTC)
    assert begin <= instant < end_of(month)
    assert month_of(end_of(month)) != month == month_of(end_of(month) - timedelta(microseconds=1))


@pytest.mark.redis
@pytest.mark.parametrize("with_redis", [False, True])
async def test_of_a_refused_record_nothing_stays(street: Street, redis_url: str, with_redis: bool) -> None:
    ingest = await street.open_ingest(redis_url=redis_url if with_redis else None, at=LAST)
    assert await log(ingest, 1, "first")
    batched = [CALL | {"idempotency_key": f"k-{n}", "metadata": {"n": n}} for n in range(100)]
    with pytest.raises(QuotaExceededError):
        await batch(ingest, 1, batched)
    assert await log(ingest, 1, "k-7", origin="other") is None, "its key stands for nothing"
    async with (await street.open_database()).connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM usage.claims") == 1
    ingest.clock.at += timedelta(seconds=2)
    answer = await ingest.call("POST", "/api/v1/log", CALL, key="k-7", quota=1)
    assert (b"idempotent-replayed", b"true") not in answer.headers
    assert await log(ingest, 1, "k-8") is None, "it counts in the month in which it was accepted"
    logged = [json.loads(value) for value in await street.logged()]
    assert [each["received_at"][:7] for each in logged if each["idempotency_key"] == "k-7"] == ["2031-02"]
