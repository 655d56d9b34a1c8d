"""Retention and quota on a whole server: what an account sees of them, and what is left afterwards."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import httpx

from tests.live.conftest import Account
from tests.live.process import ServerProcess
from tests.live.test_audit import GOOD, audit, receipt_of

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000}


def sweep(server: ServerProcess, *arguments: str, **settings: str) -> str:
    """`llmring-api usage retention`, beside the server."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMRING_")}
    done = subprocess.run(
        [sys.executable, "-m", "services", "usage", "retention", *arguments],
        env=environment | {"LLMRING_DATA_DIR": str(server.data_dir)} | settings,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_too_old_goes_and_sums_receipts_and_quota_stay(
    server: ServerProcess, operator: httpx.Client, account: Account
) -> None:
    """Case B5, by the command and the public API."""
    now = datetime.now(UTC)
    ages = [timedelta(days=29, hours=23), timedelta(days=30, hours=1), timedelta(days=31)]
    kept, *old = [
        account.log(**CALL, timestamp=(now - age).isoformat(), idempotency_key=f"k{age}")["log_id"]
        for age in ages
    ]
    receipts = [receipt_of(account, log_id) for log_id in (kept, *old)]
    before = account.stats(start_date=f"{now - timedelta(days=300):%Y-%m-%d}", group_by="month")
    assert before["total_requests"] == 3
    path = f"/api/v1/admin/accounts/{account.account_id}"
    operator.patch(path, json={"tier": "free", "requests_per_minute": None}).raise_for_status()
    assert "1 accounts wait" in sweep(server)
    assert len(account.logs()) == 3
    no_grace = {"LLMRING_RETENTION_GRACE_DAYS": "0"}
    assert "2 records would be deleted" in sweep(server, "--dry-run", **no_grace)
    assert "2 records were deleted" in sweep(server, **no_grace)
    assert [row["id"] for row in account.logs()] == [kept]
    for log_id in old:
        assert account.http.get(f"/api/v1/logs/{log_id}").status_code == 404
    after = account.stats(start_date=f"{now - timedelta(days=300):%Y-%m-%d}", group_by="month")
    assert after == before
    verdicts = [audit(account, receipt_id) for receipt_id in receipts]
    gone = GOOD | {"record": "not_applicable"}
    assert [each["verdicts"] for each in verdicts] == [GOOD, gone, gone]
    assert all(each["valid"] for each in verdicts)
    assert [receipt_of(account, log_id) for log_id in old] == receipts[1:]
    seen = account.http.get("/api/v1/account").raise_for_status().json()
    assert (seen["tier"], seen["retention_days"]) == ("free", 30)
    assert (seen["quota"]["used"], seen["quota"]["remaining"]) == (3, 9_997)


def test_a_quota_that_is_used_up_is_told_with_its_end_and_reads_go_on(
    operator: httpx.Client, account: Account
) -> None:
    path = f"/api/v1/admin/accounts/{account.account_id}"
    account.log(**CALL)
    operator.patch(path, json={"logs_per_month": 2}).raise_for_status()
    answers = [account.http.post("/api/v1/log", json=CALL) for _ in range(3)]
    while answers[-1].status_code == 200:  # the gateway may know of the limit up to a second later
        answers.append(account.http.post("/api/v1/log", json=CALL))
    refused = answers[-1]
    problem = refused.json()
    assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
    assert problem["type"].endswith("/quota-exceeded")
    resets_at = datetime.fromisoformat(problem["resets_at"])
    assert (resets_at.day, resets_at.hour, resets_at.minute) == (1, 0, 0)
    assert 0 < int(refused.headers["retry-after"]) <= 31 * 86_400
    assert problem["resets_at"] in problem["detail"]
    seen = account.http.get("/api/v1/account").raise_for_status().json()["quota"]
    assert (seen["remaining"], seen["resets_at"]) == (0, problem["resets_at"])
    batch = account.http.post("/api/v1/log/batch", json={"logs": [CALL, CALL]})
    assert (batch.status_code, batch.json()["rejected"]) == (429, 2)
    assert account.stats()["total_requests"] == seen["used"]
    operator.patch(path, json={"logs_per_month": None}).raise_for_status()
    answer = account.http.post("/api/v1/log", json=CALL)
    while answer.status_code == 429:
        answer = account.http.post("/api/v1/log", json=CALL)
    assert answer.status_code == 200
