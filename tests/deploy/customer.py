"""What a customer does with a deployment, from the first key to a receipt that verifies."""

import httpx

from shared.proofs.receipt import KeySet, verify_receipt

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}
COST = 0.00021


def expect_everything_works(url: str, key: str) -> None:
    """Record a call, and see its cost, the statistics, the record and a receipt that verifies.

    Args:
        url: of the gateway.
        key: an API key.
    """
    with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=30) as http:
        before = http.get("/api/v1/stats").json()["summary"]["total_requests"]
        answer = http.post("/api/v1/log", json=CALL)
        assert answer.status_code == 200, answer.text
        logged = answer.json()
        assert (logged["cost"], logged["cost_status"]) == (COST, "priced")

        stats = http.get("/api/v1/stats")
        assert stats.status_code == 200, stats.text
        assert stats.json()["complete"]
        assert stats.json()["summary"]["total_requests"] == before + 1

        record = http.get(f"/api/v1/logs/{logged['log_id']}")
        assert record.status_code == 200, record.text
        assert record.json()["cost"] == COST

        receipt_id = http.post("/api/v1/receipts", json={"log_id": logged["log_id"]}).json()["receipt_id"]
        receipt = http.get(f"/api/v1/receipts/{receipt_id}")
        keys = http.get("/api/v1/receipts/public-keys.json")
        verdict = verify_receipt(receipt.content, KeySet.from_json(keys.content))
        assert verdict.valid, verdict
        assert receipt.json()["payload"]["log_id"] == logged["log_id"]
