"""Calls on the wire, and what becomes of every kind of answer."""

import asyncio
import logging
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from llmring.api import (
    APIAuthenticationError,
    APIConfigurationError,
    APIConflictError,
    APIError,
    APINetworkError,
    APINotFoundError,
    APIPermissionError,
    APIQuotaExceededError,
    APIRateLimitError,
    APIServerError,
    APIService,
    APIUnavailableError,
    APIValidationError,
    AsyncAPIService,
    SyncAPIService,
)
from tests.client.conftest import KEY
from tests.client.fake import FakeServer, Reply, problem

ANSWER = {
    "log_id": "01a21214-6fdf-7000-a4e6-6ac567df7f83",
    "cost": 3.75e-8,
    "timestamp": "2026-11-25T09:40:58.975037Z",
    "cost_status": "priced",
    "registry_version": "2026.08.18.3",
    "cost_breakdown": [],
    "a_member_of_later": 1,
}


@pytest.mark.parametrize(
    ("reply", "cls"),
    [
        (problem(400, "malformed-request"), APIValidationError),
        (problem(401, "unauthenticated"), APIAuthenticationError),
        (problem(403, "forbidden"), APIPermissionError),
        (problem(404, "not-found"), APINotFoundError),
        (problem(409, "conflict"), APIConflictError),
        (problem(410, "gone"), APINotFoundError),
        (problem(413, "too-large"), APIValidationError),
        (problem(418, "teapot"), APIError),
        (problem(500, "internal"), APIServerError),
        (problem(503, "unavailable", headers={"Retry-After": "60"}), APIUnavailableError),
        (Reply(302, b"<html>", {"Location": "/elsewhere"}), APIError),
        (Reply(502, b"<html>bad gateway", {"Retry-After": "60"}), APIUnavailableError),
        (Reply(422, [1, 2]), APIValidationError),
        (Reply(422, {"detail": 7, "errors": "x", "type": None}), APIValidationError),
        (Reply(200, b"\xff{"), APIServerError),
        (Reply(200, {"total_cost": "much"}), APIServerError),
        (Reply(0), APINetworkError),
    ],
)
async def test_each_answer_is_an_error_of_its_own(
    fake: FakeServer, reply: Reply, cls: type[APIError]
) -> None:
    fake.answer(reply)
    blocking, awaited = SyncAPIService(fake.url, KEY), AsyncAPIService(fake.url, KEY)
    for failed in (
        await asyncio.to_thread(_error_of, blocking.get_usage_stats),
        await _awaited_error_of(awaited.get_usage_stats),
    ):
        assert type(failed) is cls
        assert str(failed) == failed.detail != ""
        assert failed.status == (None if reply.status == 0 else failed.status)
    blocking.close()
    await awaited.close()


def test_an_error_carries_what_the_server_said(fake: FakeServer, api: APIService) -> None:
    wrong = {"field": "model", "message": "Expected `str`"}
    fake.answer(
        problem(
            422, "invalid-field", "model: Expected `str`", errors=[wrong, 7], request_id="r-1", instance="/x"
        )
    )
    error = _error_of(api.log_usage, model="m")
    assert (error.kind, error.status, error.request_id, error.instance) == ("invalid-field", 422, "r-1", "/x")
    assert [(each.field, each.message) for each in error.errors] == [("model", "Expected `str`")]

    limited = {"Retry-After": "7", "X-RateLimit-Reset": "1800000000", "X-Request-ID": "r-2"}
    fake.answer(problem(429, "rate-limited", headers=limited))
    error = _error_of(api.get_usage_stats)
    assert type(error) is APIRateLimitError
    assert (error.retry_after, error.request_id) == (7, "r-2")
    assert error.reset_time == datetime.fromtimestamp(1_800_000_000, UTC)

    fake.answer(problem(429, "quota-exceeded", resets_at="2026-12-01T00:00:00Z", headers=limited))
    error = _error_of(api.get_usage_stats)
    assert type(error) is APIQuotaExceededError
    assert error.reset_time == datetime(2026, 12, 1, tzinfo=UTC)

    fake.answer(problem(429, "rate-limited", headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}))
    error = _error_of(api.get_usage_stats)
    assert error.retry_after == 0

    fake.answer(problem(429, "rate-limited", headers={"Retry-After": "Fri, 01 Jan 99999999999 00:00:00 GMT"}))
    error = _error_of(api.get_usage_stats)
    assert (type(error), error.retry_after) == (APIRateLimitError, None)


def test_what_may_pass_is_repeated_as_the_same_record(fake: FakeServer, api: APIService) -> None:
    fake.answer(Reply(0), problem(503, "unavailable", headers={"Retry-After": "0"}), Reply(200, ANSWER))
    answer = api.log_usage(
        model="openai:gpt-4o-mini", input_tokens=7, cost=Decimal("0.0000000375"), origin=None
    )
    assert answer.cost == Decimal("0.0000000375")
    assert len(fake.seen) == 3
    assert fake.seen[0].body == fake.seen[1].body == fake.seen[2].body
    assert len(fake.seen[0].body.pop("idempotency_key")) == 32
    assert fake.seen[0].body == {"model": "openai:gpt-4o-mini", "input_tokens": 7, "cost": 3.75e-8}
    assert fake.seen[0].headers["x-api-key"] == KEY


def test_what_must_happen_once_and_what_takes_long_is_not_repeated(fake: FakeServer, api: APIService) -> None:
    fake.answer(Reply(0))
    with pytest.raises(APINetworkError):
        api.register_webhook(url="https://a.example", events=["price.changed"])
    assert [each.path for each in fake.seen] == ["/api/v1/webhooks"]
    fake.answer(problem(503, "unavailable", headers={"Retry-After": "600"}))
    started = time.monotonic()
    with pytest.raises(APIUnavailableError) as raised:
        api.get_usage_stats()
    assert raised.value.retry_after == 600
    assert time.monotonic() - started < 5
    assert len(fake.seen) == 2


def test_no_server_is_a_network_error() -> None:
    with SyncAPIService("http://127.0.0.1:9", KEY) as api, pytest.raises(APINetworkError):
        api.get_receipt("x")


@pytest.mark.parametrize("url", ["api.llmring.ai", "ftp://x", "http://", "https://x/?a=b"])
def test_what_cannot_work_is_told_at_once(url: str) -> None:
    with pytest.raises(APIConfigurationError):
        APIService(url)
    with pytest.raises(APIConfigurationError):
        APIService("http://localhost", "llmr pk")


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hidden@host",
        "http://hidden@host",
        "ftp://u:hidden@host",
        "u:hidden@host",
        "http://u:hidden@[x",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(APIConfigurationError) as raised:
        APIService(url)
    assert "hidden" not in "".join(traceback.format_exception(raised.value, chain=True))


def test_address_and_key_come_from_the_environment(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMRING_API_URL", fake.url + "/")
    monkeypatch.setenv("LLMRING_API_KEY", KEY)
    fake.answer(Reply(200, {"webhooks": []}))
    with SyncAPIService() as api:
        assert api.list_webhooks() == []
    assert fake.seen[0].path == "/api/v1/webhooks"
    assert fake.seen[0].headers["x-api-key"] == KEY


def test_one_object_serves_scripts_and_coroutines(fake: FakeServer, api: APIService) -> None:
    fake.answer(Reply(200, ANSWER))

    async def report() -> Any:
        waiting = api.log_usage(model="m", provider="p")
        assert asyncio.iscoroutine(waiting)
        answers = await asyncio.gather(waiting, api.log_usage(model="m", provider="p"))
        await api.flush()
        return answers[0]

    assert asyncio.run(report()) == asyncio.run(report()) == api.log_usage(model="m", provider="p")
    assert len(fake.seen) == 5


def test_loops_in_several_threads_share_one_object(fake: FakeServer, api: APIService) -> None:
    fake.answer(Reply(200, ANSWER))

    async def report() -> list[Any]:
        return [await api.log_usage(model="m", provider="p") for _ in range(20)]

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: asyncio.run(report()), range(8)))
    assert sum(map(len, answers)) == len(fake.seen) == 160


def test_a_field_that_is_none_of_a_record_is_told(fake: FakeServer, api: APIService) -> None:
    error = _error_of(api.log_usage, model="m", input_token=7)
    assert isinstance(error, APIValidationError)
    assert [each.field for each in error.errors] == ["input_token"]
    assert isinstance(_error_of(api.log_usage, model="m", metadata={"x": object()}), APIValidationError)
    assert not fake.seen


@pytest.mark.parametrize(
    "number", [float("nan"), float("-inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("inf")]
)
def test_an_amount_that_is_no_number_is_told(
    fake: FakeServer, api: APIService, number: Decimal | float
) -> None:
    for field, call, arguments in (
        ("cost", api.log_usage, {"model": "m"}),
        ("cost", api.create_receipt, {"model": "m"}),
        ("cost", api.settle_budget, {"budget_id": "b1", "reservation_id": "r1"}),
        ("amount", api.reserve_budget, {"budget_id": "b1"}),
    ):
        error = _error_of(call, **arguments, **{field: number})
        assert isinstance(error, APIValidationError)
        assert [each.field for each in error.errors] == [field]
    error = _error_of(api.log_usage, model="m", metadata={"a": [1.5, {"b": number}], "c": None})
    assert isinstance(error, APIValidationError)
    assert [each.field for each in error.errors] == ["metadata.a.1.b"]
    error = _error_of(api.set_budgets, budgets=[{"name": "n", "scope": "account", "amount": number}])
    assert isinstance(error, APIValidationError)
    assert not fake.seen


def test_debugging_shows_requests_and_answers_and_no_secret(
    fake: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    hook = {
        "id": "w1",
        "url": "https://a.example/x",
        "events": ["price.changed"],
        "secret": "whsec_MfKQ9r8G+/=",
    }
    fake.answer(Reply(201, hook | {"echo": KEY, "other": "llmr_pk_0123"}))
    caplog.set_level(logging.DEBUG)
    with SyncAPIService(fake.url, KEY, debug=True) as api:
        made = api.register_webhook(url="https://a.example/x", events=["price.changed"])
    assert (made.id, made.secret) == ("w1", "whsec_MfKQ9r8G+/=")
    assert fake.seen[0].body == {"url": "https://a.example/x", "events": ["price.changed"]}
    assert "-> POST" in caplog.text
    assert "/api/v1/webhooks" in caplog.text
    assert "<- 201" in caplog.text
    assert "price.changed" in caplog.text
    for secret in (KEY, KEY[8:], "MfKQ", "0123"):
        assert secret not in caplog.text


def test_budgets_and_webhooks_are_sent_as_the_contract_has_them(fake: FakeServer, api: APIService) -> None:
    fake.answer(
        Reply(200, {"reservation_id": "r1", "remaining": 9.9, "expires_at": "2026-01-01T00:00:00Z"}),
        Reply(0),
        Reply(200, {"reservation_id": "r1", "cost": 0.05, "remaining": 9.95}),
        Reply(204),
        problem(409, "budget-exceeded", "0.01 left"),
    )
    held = api.reserve_budget("b1", Decimal("0.10"), expires_in_s=60)
    assert (held.reservation_id, held.remaining) == ("r1", Decimal("9.9"))
    assert api.settle_budget("b1", "r1", cost=Decimal("0.05")).remaining == Decimal("9.95")
    api.delete_webhook("w/1")
    error = _error_of(api.reserve_budget, budget_id="b1", amount=1)
    assert (type(error), error.kind, error.detail) == (APIConflictError, "budget-exceeded", "0.01 left")
    assert len({seen.body.pop("reservation_id") for seen in (fake.seen[0], fake.seen[-1])}) == 2
    assert [(each.method, each.path, each.body) for each in fake.seen] == [
        ("POST", "/api/v1/budgets/b1/reserve", {"amount": 0.1, "expires_in_s": 60}),
        *[("POST", "/api/v1/budgets/b1/settle", {"reservation_id": "r1", "cost": 0.05})] * 2,
        ("DELETE", "/api/v1/webhooks/w%2F1", None),
        ("POST", "/api/v1/budgets/b1/reserve", {"amount": 1}),
    ]


def _error_of(call: Any, **arguments: Any) -> Any:
    with pytest.raises(APIError) as raised:
        call(**arguments)
    return raised.value


async def _awaited_error_of(call: Any) -> Any:
    with pytest.raises(APIError) as raised:
        await call()
    return raised.value
