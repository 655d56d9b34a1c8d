"""The dispute view of a receipt, on a whole server: what it checks, and that it finds tampering."""

import uuid
from typing import Any

import httpx
import pytest

from services.cli.embedded_postgres import find_running_postgres
from shared.postgres import open_connection
from tests.live.conftest import Account
from tests.live.process import ServerProcess
from tests.live.test_reprice import call, name_model, price, publish, wait_for

GOOD = {"signature": "passed", "inclusion": "passed", "cost": "passed", "record": "passed"}
CALL = {
    "provider": "openai",
    "model": "gpt-4o-mini",
    "input_tokens": 1000,
    "cached_input_tokens": 100,
    "output_tokens": 100,
    "reasoning_tokens": 7,
    "origin": "web",
    "alias": "é😀",
    "profile": "p",
    "id_at_origin": "x",
    "latency_ms": 12,
    "metadata": {"a": 1.50, "b": [1e21, 12345678901234567890, {"é": None}]},
    "timestamp": "2026-11-01T10:11:12.123456789Z",
}


def receipt_of(account: Account, log_id: str) -> str:
    """The name of a record's receipt, once it is there."""
    answer = account.http.post("/api/v1/receipts", json={"log_id": log_id})
    assert answer.status_code == 201, answer.text
    name: str = answer.json()["receipt_id"]
    return name


def audit(account: Account, receipt_id: str) -> dict[str, Any]:
    answer = account.http.get(f"/api/v1/receipts/{receipt_id}/audit")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    body["verdicts"] = {check["check"]: check["verdict"] for check in body.pop("checks")}
    return body


@pytest.mark.parametrize("changes", [{}, {"cost": 1.5}, {"model": "unheard-of"}, {"service_tier": "batch"}])
def test_an_honest_receipt_passes_every_check(account: Account, changes: dict[str, Any]) -> None:
    receipt_id = receipt_of(account, account.log(**CALL | changes)["log_id"])
    assert audit(account, receipt_id) == {
        "receipt_id": receipt_id,
        "valid": True,
        "complete": True,
        "superseded_by": None,
        "verdicts": GOOD,
    }


def test_a_declared_receipt_and_a_statement_have_no_record(account: Account) -> None:
    declared = account.http.post("/api/v1/receipts", json=CALL).json()["receipt_id"]
    assert audit(account, declared)["verdicts"] == GOOD | {"record": "not_applicable"}
    range_ = {"start_date": "2026-11-01", "end_date": "2026-11-02"}
    stated = account.http.post("/api/v1/receipts", json=range_).json()["receipt_id"]
    assert audit(account, stated)["verdicts"] == GOOD | dict.fromkeys(("record", "cost"), "not_applicable")


def test_a_receipt_that_was_superseded_says_by_which(account: Account, operator: httpx.Client) -> None:
    name = name_model()
    log_id = account.log(**call(name))["log_id"]
    first = receipt_of(account, log_id)
    publish(operator, name)
    price(operator, model=name, dry_run=False)
    wait_for(lambda: receipt_of(account, log_id) != first)
    second = receipt_of(account, log_id)
    old, new = audit(account, first), audit(account, second)
    assert (old["superseded_by"], new["superseded_by"]) == (second, None)
    assert old["valid"]
    assert new["verdicts"] == GOOD


def test_it_is_for_the_receipts_own_account(
    account: Account, server: ServerProcess, operator: httpx.Client
) -> None:
    receipt_id = receipt_of(account, account.log(**CALL)["log_id"])
    path = f"/api/v1/receipts/{receipt_id}/audit"
    other = Account(server, operator)
    stranger = other.http.get(path)
    nothing = other.http.get(f"/api/v1/receipts/{uuid.uuid4()}/audit")
    assert stranger.status_code == nothing.status_code == 404
    assert stranger.json()["detail"] == nothing.json()["detail"]
    assert httpx.get(f"{account.http.base_url}{path}").status_code == 401


async def tamper(server: ServerProcess, statement: str, log_id: str) -> None:
    url = find_running_postgres(server.data_dir / "postgres")
    assert url
    connection = await open_connection(url, application_name="tests")
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(statement, uuid.UUID(log_id))
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("statement", "failed"),
    [
        ("UPDATE usage.logs SET cost = 9 WHERE log_id = $1", {"record"}),
        ("UPDATE usage.logs SET input_tokens = 9 WHERE log_id = $1", {"record"}),
        ("""UPDATE usage.logs SET metadata = '{"a":2}' WHERE log_id = $1""", {"record"}),
        ("UPDATE usage.logs SET metadata = NULL WHERE log_id = $1", {"record"}),
        ("UPDATE usage.logs SET cost_breakdown = '[]' WHERE log_id = $1", {"record"}),
        ("UPDATE usage.logs SET repriced_at = received_at WHERE log_id = $1", {"record"}),
        ("DELETE FROM usage.logs WHERE log_id = $1", {"record"}),
        (
            """UPDATE receipts.receipts SET signature = set_byte(signature, 5, 255 - get_byte(signature, 5))
               WHERE log_id = $1""",
            {"signature"},
        ),
        (
            """UPDATE receipts.receipts SET payload = convert_to(replace(convert_from(payload, 'UTF8'),
               '"cost":"0.0002', '"cost":"0.0001'), 'UTF8') WHERE log_id = $1""",
            {"signature", "inclusion", "cost", "record"},
        ),
    ],
)
async def test_what_was_tampered_with_fails(
    account: Account, server: ServerProcess, statement: str, failed: set[str]
) -> None:
    log_id = account.log(**CALL)["log_id"]
    receipt_id = receipt_of(account, log_id)
    await tamper(server, statement, log_id)
    found = audit(account, receipt_id)
    assert {name for name, verdict in found["verdicts"].items() if verdict == "failed"} == failed
    assert not found["valid"]


@pytest.mark.parametrize(
    ("age", "also", "verdict"),
    [
        ("0 seconds", "", "unavailable"),
        ("2 minutes", "", "failed"),
        ("0 seconds", ", input_tokens = 9", "failed"),
    ],
)
async def test_a_price_found_just_now_may_be_without_its_receipt_for_a_moment(
    account: Account, server: ServerProcess, age: str, also: str, verdict: str
) -> None:
    log_id = account.log(**call(name_model()))["log_id"]
    receipt_id = receipt_of(account, log_id)
    price = f"cost = 1, cost_status = 'priced', repriced_at = now() - interval '{age}'{also}"
    await tamper(server, f"UPDATE usage.logs SET {price} WHERE log_id = $1", log_id)
    assert audit(account, receipt_id)["verdicts"] == GOOD | {"record": verdict}
