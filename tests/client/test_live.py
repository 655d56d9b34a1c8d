"""The client against a real server where that has its own mind: limits, quotas, keys."""

import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llmring.api import (
    APIAuthenticationError,
    APIConflictError,
    APINotFoundError,
    APIPermissionError,
    APIQuotaExceededError,
    APIRateLimitError,
    APIValidationError,
    SyncAPIService,
)
from tests.live.conftest import Account
from tests.live.process import ServerProcess

CALL: dict[str, Any] = {"model": "openai:gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}


def limit(account: Account, operator: Any, **limits: int | None) -> None:
    operator.patch(f"/api/v1/admin/accounts/{account.account_id}", json=limits).raise_for_status()


def test_a_limit_says_when_it_is_whole_again(server: ServerProcess, operator: Any, account: Account) -> None:
    limit(account, operator, requests_per_minute=2)
    with SyncAPIService(server.url, account.key) as api:
        api.get_usage_stats()
        api.get_usage_stats()
        with pytest.raises(APIRateLimitError) as raised:
            api.get_usage_stats()
    error = raised.value
    assert type(error) is APIRateLimitError
    assert error.retry_after is not None
    assert 0 < error.retry_after <= 60
    assert error.reset_time is not None
    assert timedelta() < error.reset_time - datetime.now(UTC) <= timedelta(seconds=62)
    assert error.request_id


def test_the_registry_is_asked_for_by_its_etag(
    server: ServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="llmring.api")
    for _ in range(2):
        with SyncAPIService(server.url, debug=True, registry_ttl_s=0) as api:
            assert api.get_model("gpt-4o-mini").supports_vision
    assert [line for line in caplog.messages if line.startswith("<- 304")]


def test_a_month_that_is_used_up_keeps_what_is_queued(
    server: ServerProcess, operator: Any, account: Account
) -> None:
    limit(account, operator, logs_per_month=2)
    with SyncAPIService(server.url, account.key, flush_interval_s=3600) as api:
        api.log_usage(**CALL)
        for _ in range(3):
            api.queue_usage(**CALL, origin="queued")
        state = api.flush(timeout_s=2)
        assert (state.sent, state.pending, state.refused) == (1, 2, 0)
        with pytest.raises(APIQuotaExceededError) as raised:
            api.log_usage(**CALL)
    reset = raised.value.reset_time
    assert reset is not None
    assert (reset.day, reset.hour, reset > datetime.now(UTC)) == (1, 0, True)
    limit(account, operator, logs_per_month=None)
    with SyncAPIService(server.url, account.key) as api:
        assert api.flush().pending == 0
    assert account.stats(origin="queued")["total_requests"] == 3


def test_webhooks_are_registered_listed_and_deleted(server: ServerProcess, account: Account) -> None:
    events = ["model.added", "price.changed", "model.deprecated"]  # those of the specification's sample
    with SyncAPIService(server.url, account.key) as api:
        made = api.register_webhook(url="https://8.8.8.8/webhooks/llmring", events=events)
        assert made.secret is not None
        assert made.secret.startswith("whsec_")
        assert "whsec" not in repr(made)
        [listed] = api.list_webhooks()
        assert (listed.id, listed.url, sorted(listed.events)) == (made.id, made.url, sorted(events))
        assert (listed.secret, listed.status) == (None, "enabled")
        api.delete_webhook(made.id)
        assert api.list_webhooks() == []
        with pytest.raises(APINotFoundError):
            api.delete_webhook(made.id)
        with pytest.raises(APIValidationError) as raised:
            api.register_webhook(url="http://127.0.0.1/x", events=["no.such"])
    assert {each.field.split(".")[0].split("[")[0] for each in raised.value.errors} == {"url", "events"}


def test_budgets_hold_what_is_reserved(server: ServerProcess, account: Account) -> None:
    with SyncAPIService(server.url, account.key) as api:
        wanted = {"name": "all", "scope": "account", "amount": Decimal("1.00"), "thresholds": [0.5]}
        [budget] = api.set_budgets([wanted])
        held = api.reserve_budget(budget.id, Decimal("0.60"), expires_in_s=60)
        assert held.remaining == Decimal("0.40")
        again = api.reserve_budget(budget.id, Decimal("0.60"), reservation_id=held.reservation_id)
        assert (again.reservation_id, again.remaining) == (held.reservation_id, held.remaining)
        with pytest.raises(APIConflictError) as raised:
            api.reserve_budget(budget.id, Decimal("0.41"))
        assert raised.value.kind == "budget-exceeded"
        settled = api.settle_budget(budget.id, held.reservation_id, cost=Decimal("0.25"))
        assert (settled.cost, settled.remaining) == (Decimal("0.25"), Decimal("0.75"))
        second = api.reserve_budget(budget.id, Decimal("0.5"))
        api.queue_usage(**CALL, reservation_id=second.reservation_id)
        assert api.flush().sent == 1
        account.stats()
        [now] = api.get_budgets()
        assert (now.spent, now.reserved) == (Decimal("0.25") + Decimal("0.00021"), 0)
        assert (now.name, now.scope, now.thresholds) == ("all", "account", [Decimal("0.5")])


def test_a_new_key_sends_what_the_old_one_left(
    server: ServerProcess, account: Account, tmp_path: Path
) -> None:
    made = account.http.post("/api/v1/keys", json={"name": "old", "scopes": ["log"]}).json()
    queue = tmp_path / "queue"
    with SyncAPIService(server.url, made["api_key"], queue_path=queue, flush_interval_s=3600) as api:
        with pytest.raises(APIPermissionError):
            api.get_usage_stats()
        key = api.queue_usage(**CALL, origin="rotated")
        assert api.persist()
        account.http.delete(f"/api/v1/keys/{made['key']['id']}").raise_for_status()
        state = api.flush()
        assert state.pending == 1
        assert state.stopped_by
        with pytest.raises(APIAuthenticationError):
            api.log_usage(**CALL)
    with SyncAPIService(server.url, account.key, queue_path=queue) as api:
        assert api.flush().pending == 0
        repeat = api.log_usage(**CALL, origin="rotated", idempotency_key=f"{key}-other")
        receipt = api.create_receipt_for(repeat.log_id)
        assert api.verify_receipt(receipt).valid
    assert account.stats(origin="rotated")["total_requests"] == 2
