"""An account as it sees itself, and what ingest is told of how long records are kept."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.auth.operator import ensure_operator
from shared.errors import ForbiddenError, UnavailableError
from shared.ids import uuid7
from tests.auth.conftest import Auth


async def show(auth: Auth, headers: dict[str, str]) -> httpx.Response:
    return await auth.http.get("/api/v1/account", headers=headers)


async def rules(auth: Auth, *account_ids: str) -> list[tuple[str, int | None, str | None]]:
    answer = await auth.http.post("/internal/accounts/retention", json={"account_ids": account_ids})
    assert answer.status_code == 200, answer.text
    return [(rule["account_id"], rule["days"], rule["shortened_at"]) for rule in answer.json()["rules"]]


async def test_an_account_sees_its_limits_and_what_it_has_used(auth: Auth) -> None:
    account_id = (await auth.open_account())["account_id"]
    caller = auth.token_of(account_id, "read")
    answer = await show(auth, caller)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "account_id": account_id,
        "email": "nora@example.test",
        "organization": None,
        "role": "customer",
        "tier": "free",
        "requests_per_minute": 60,
        "logs_per_month": 10_000,
        "retention_days": 30,
        "own_limits": [],
        "created_at": "2027-01-15T08:00:00Z",
        "quota": {
            "month": "2027-01",
            "used": 7,
            "remaining": 9_993,
            "resets_at": "2027-02-01T00:00:00Z",
        },
    }
    # Ingest is asked in the name of the caller, and of nobody else.
    [(method, path, headers)] = auth.ingest.asked
    assert (method, path) == ("GET", "/internal/month")
    assert headers[b"x-llmring-principal"].decode() == caller["x-llmring-principal"]
    for limit, remaining in ((5, 0), (None, None)):
        await auth.patch(account_id, {"logs_per_month": limit})
        seen = (await show(auth, auth.token_of(account_id, "admin"))).json()
        assert (seen["logs_per_month"], seen["own_limits"]) == (limit, ["logs_per_month"])
        assert seen["quota"]["remaining"] == remaining


async def test_who_may_see_it_and_what_is_told_without_ingest(auth: Auth) -> None:
    account_id = (await auth.open_account())["account_id"]
    assert (await show(auth, {})).status_code == 401
    assert (await show(auth, auth.token_of(account_id, "log"))).status_code == 403
    failures: list[Any] = [UnavailableError("away"), TimeoutError()]
    for failure in failures:
        auth.ingest.failure = failure
        answer = await show(auth, auth.token_of(account_id, "read"))
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    auth.ingest.failure, auth.ingest.body = None, b"{}"
    assert (await show(auth, auth.token_of(account_id, "read"))).status_code == 503
    auth.ingest.failure = ForbiddenError("no")
    assert (await show(auth, auth.token_of(account_id, "read"))).status_code == 403


async def test_how_long_records_are_kept_and_when_that_became_shorter(auth: Auth) -> None:
    nora = (await auth.open_account())["account_id"]
    assert await rules(auth, nora) == [(nora, 30, None)]
    for hour, (change, days, shortened) in enumerate(
        [
            ({"tier": "pro"}, 365, None),
            ({"tier": "team"}, None, None),
            ({"requests_per_minute": 7}, None, None),
            ({"retention_days": 100}, 100, "2027-01-15T11:00:00Z"),
            ({"retention_days": 200}, 200, "2027-01-15T11:00:00Z"),
            ({"tier": "free"}, 30, "2027-01-15T13:00:00Z"),
        ]
    ):
        auth.clock.at = auth.clock.at.replace(hour=8) + timedelta(hours=hour)
        assert (await auth.patch(nora, change)).status_code == 200
        assert await rules(auth, nora) == [(nora, days, shortened)]
    await ensure_operator(auth.database, auth.clock)
    operator = (await auth.get_admin(email="operator@localhost")).json()["accounts"][0]["account_id"]
    found = await rules(auth, nora, str(uuid7()), operator)
    assert sorted(found) == sorted([(nora, 30, "2027-01-15T13:00:00Z"), (operator, None, None)])


@pytest.mark.parametrize("body", [{}, {"account_ids": ["x"]}, {"account_ids": [str(uuid7())] * 501}, []])
async def test_a_wrong_question_is_refused(auth: Auth, body: Any) -> None:
    answer = await auth.http.post("/internal/accounts/retention", json=body)
    assert answer.status_code == 422
