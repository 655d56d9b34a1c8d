"""Receipts in the form of the `llmring` 1.0.0 package, judged by the verifier that this package ships."""

import json
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import leave_out
from tests.live.client_environment import install_client
from tests.live.conftest import Account
from tests.servers.server import MissingServerError

pytestmark = pytest.mark.client

PROGRAM = """
import base64, json, sys
from llmring.receipts import Receipt, ReceiptSigner

shown = json.load(sys.stdin)
key = ReceiptSigner.load_public_key(base64.b64decode(shown["key"]))
print(json.dumps([
    {"valid": ReceiptSigner.verify_receipt(receipt, key), "digest": receipt.calculate_digest()}
    for receipt in map(Receipt.model_validate, shown["receipts"])
]))
"""


@pytest.fixture(scope="session")
def old_python() -> Path:
    """An interpreter that has `llmring` 1.0.0."""
    try:
        return install_client("llmring==1.0.0") / "python"
    except MissingServerError as error:
        leave_out("llmring 1.0.0", error)


def judge(old_python: Path, key: str, receipts: list[dict[str, Any]]) -> list[bool]:
    """What the package's own verifier says of each."""
    shown = json.dumps({"key": key, "receipts": receipts})
    done = subprocess.run(
        [old_python, "-c", PROGRAM], input=shown, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [verdict["valid"] for verdict in json.loads(done.stdout)]


def receipt_of(account: Account, **fields: Any) -> dict[str, Any]:
    """The receipt of a call that was just recorded."""
    log = account.log(**{"provider": "openai", "input_tokens": 1234, "output_tokens": 567} | fields)
    answer = account.http.post("/api/v1/receipts", json={"log_id": log["log_id"]})
    assert answer.status_code == 201, answer.text
    receipt: dict[str, Any] = answer.json()["receipt"]
    return receipt


def old_form(account: Account, receipt: dict[str, Any]) -> dict[str, Any]:
    answer = account.http.get(f"/api/v1/receipts/{receipt['id']}?format=llmring-1.0")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def test_its_verifier_accepts_ours_and_refuses_whatever_was_changed(
    account: Account, old_python: Path
) -> None:
    receipts = [
        receipt_of(account, model="gpt-4o-mini"),
        receipt_of(
            account, model="gpt-4o-mini", alias='résumé 😀 "\x1f', profile="prod", cached_input_tokens=1000
        ),
        receipt_of(account, provider="anthropic", model="claude-sonnet-4-5", cache_write_5m_tokens=9),
    ]
    published = account.http.get("/api/v1/receipts/public-keys.json").json()
    [key] = [key for key in published["keys"] if key["key_id"] == published["current_key_id"]]
    ours = [old_form(account, receipt) for receipt in receipts]
    assert judge(old_python, key["public_key"], ours) == [True] * 3

    shown, facts = ours[1], receipts[1]["payload"]
    assert (shown["receipt_id"], shown["alias"], shown["profile"], shown["provider"], shown["model"]) == (
        receipts[1]["id"],
        facts["alias"],
        "prod",
        "openai",
        "gpt-4o-mini",
    )
    assert (shown["prompt_tokens"], shown["completion_tokens"], shown["total_tokens"]) == (1234, 567, 1801)
    assert shown["total_cost"] == float(facts["cost"])
    assert shown["input_cost"] + shown["output_cost"] == pytest.approx(shown["total_cost"], rel=1e-15)
    assert shown["input_cost"] == pytest.approx(234 * 0.15e-6 + 1000 * 0.075e-6, rel=1e-12)

    forged: list[dict[str, Any]] = []
    for name, value in shown.items():
        if name == "timestamp":
            other: object = "2020-01-01T00:00:00+00:00"
        elif name == "signature":
            other = ours[0]["signature"]
        else:
            other = value + "x" if isinstance(value, str) else value + 1
        forged.append(shown | {name: other})
    forged += [shown | {"signature": None}, shown | {"signature": receipts[1]["signature"]}]
    assert judge(old_python, key["public_key"], forged) == [False] * len(forged)
    assert len(forged) == 16


def test_neither_form_passes_for_the_other(account: Account, old_python: Path) -> None:
    receipt = receipt_of(account, model="gpt-4o-mini")
    shown = old_form(account, receipt)
    payload = {name: value for name, value in shown.items() if name != "signature"}
    for posed in (
        receipt | {"payload": payload, "signature": shown["signature"]},
        receipt | {"payload": payload | {"key_id": receipt["key_id"]}, "signature": shown["signature"]},
        receipt | {"signature": shown["signature"]},
        shown,
    ):
        verdict = account.http.post("/api/v1/receipts/verify", json=posed)
        assert verdict.status_code == 200, verdict.text
        assert not verdict.json()["valid"]
    assert len(b64decode(shown["signature"])) == 64


def test_what_the_form_cannot_say_is_refused_and_never_guessed(account: Account) -> None:
    def refused(receipt_id: str) -> str:
        answer = account.http.get(f"/api/v1/receipts/{receipt_id}?format=llmring-1.0")
        assert answer.status_code == 422, answer.text
        [error] = answer.json()["errors"]
        assert error["field"] == "format"
        return str(error["message"])

    assert "a cost is not known" in refused(receipt_of(account, model="no-such-model")["id"])
    assert "no such parts" in refused(receipt_of(account, model="gpt-4o-mini", cost=0.5)["id"])
    declared = account.http.post("/api/v1/receipts", json={"model": "gpt-4o-mini", "cost": 1}).json()
    assert "only declared" in refused(declared["receipt_id"])
    assert account.http.get(f"/api/v1/receipts/{declared['receipt_id']}?format=xml").status_code == 422
    assert account.http.get("/api/v1/receipts/nothing?format=llmring-1.0").status_code == 404
