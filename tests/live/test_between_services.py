"""What one service knows and another one needs goes the whole way, in one process as in many."""

import time
from typing import Any

import httpx

from tests.live.conftest import Account
from tests.live.process import ServerProcess


def key_of(account: Account) -> str:
    [key] = account.http.get("/api/v1/keys").json()["keys"]
    found: str = key["id"]
    return found


def test_a_budget_is_for_a_key_of_the_account(
    account: Account, server: ServerProcess, operator: httpx.Client
) -> None:
    mine, other = account, Account(server, operator)
    wanted: dict[str, Any] = {"name": "k", "scope": "key", "value": key_of(other), "amount": 5}
    other.http.close()
    refused = mine.http.put("/api/v1/budgets", json={"budgets": [wanted]})
    assert (refused.status_code, [each["field"] for each in refused.json()["errors"]]) == (
        422,
        ["budgets[0].value"],
    )
    assert mine.http.get("/api/v1/budgets").json() == {"budgets": []}
    wanted["value"] = key_of(mine)
    mine.log(model="openai:gpt-4o-mini", cost=2)
    made = mine.http.put("/api/v1/budgets", json={"budgets": [wanted]})
    assert [each["spent"] for each in made.json()["budgets"]] == [2]


def test_what_is_done_to_a_webhook_is_in_the_audit_log(account: Account) -> None:
    body = {"url": "https://hooks.example.com/T0/s3cret", "events": ["model.added"]}
    made = account.http.post("/api/v1/webhooks", json=body)
    assert made.status_code == 201, made.text
    account.http.delete(f"/api/v1/webhooks/{made.json()['id']}").raise_for_status()
    deadline = time.monotonic() + 20
    while True:
        page = account.http.get("/api/v1/audit").json()
        told = [each for each in page["entries"] if each["target_id"] == made.json()["id"]]
        if len(told) == 2:
            break
        assert time.monotonic() < deadline, page
        time.sleep(0.1)
    assert [each["action"] for each in told] == ["webhook.deleted", "webhook.created"]
    assert {each["actor"]["key_id"] for each in told} == {key_of(account)}
    assert all(each["client"] == "127.0.0.1" for each in told)
    assert "s3cret" not in str(page)
    assert told[1]["after"]["host"] == "hooks.example.com"
