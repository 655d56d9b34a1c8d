"""Records that were kept elsewhere are taken over once, however often that is tried."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llmring.api import APIQuotaExceededError, APIService, APIValidationError, SyncAPIService
from tests.client.fake import FakeServer, Reply, Seen, accept_all, problem
from tests.live.conftest import Account
from tests.live.process import ServerProcess

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}


def test_an_export_is_imported_once(
    server: ServerProcess, operator: Any, account: Account, tmp_path: Path
) -> None:
    older = [
        # As a server of before wrote them.
        {"id": 1, "logged_at": "2026-09-01T10:00:00Z", **CALL, "cost": 0.000211, "conversation_id": None},
        {"id": 2, "logged_at": "2026-09-01T10:00:00Z", **CALL, "cost": 0.0, "metadata": {"a": 1.5}},
        *[{**CALL, "timestamp": "2026-09-02T00:00:00Z"}] * 3,  # equal ones without an id: each counts
        {**CALL, "model": ""},
        7,
        {**CALL, "metadata": {"x": {"y": "z" * 20_000}}},
    ]
    ndjson = "\n".join(json.dumps(each) for each in older)
    file = tmp_path / "older.json"
    file.write_text(json.dumps(older))
    with SyncAPIService(server.url, account.key) as api:
        for shown in (older, json.dumps(older), ndjson.encode(), file):
            result = api.import_usage_logs(shown)  # type: ignore[arg-type]
            assert result.accepted == 5
            assert [each.index for each in result.refused] == [5, 6, 7]
            assert "model" in result.refused[0].reason
        stats = api.get_usage_stats(start_date="2026-09-01", end_date="2026-09-02", group_by="day")
        rows = account.logs()
        assert stats.total_requests == len(rows) == 5
        assert stats.total_cost == Decimal("0.000211") + 3 * Decimal("0.00021")
        assert sorted(row["cost_status"] for row in rows) == ["client"] * 2 + ["priced"] * 3
        exported = api.export_usage_logs(start_date="2026-09-01")
        assert len(api.export_usage_logs(start_date="2026-09-01", format="ndjson").splitlines()) == 5
        assert api.export_usage_logs(format="csv").startswith("id,")
        assert api.export_usage_logs(origin="nobody") == "[]"
    other = Account(server, operator)
    with SyncAPIService(server.url, other.key) as api:
        assert api.import_usage_logs(exported).accepted == 5
        assert api.import_usage_logs(exported).accepted == 5
        moved = api.get_usage_stats(start_date="2026-09-01", end_date="2026-09-02", group_by="day")
    assert (moved.total_requests, moved.total_cost) == (5, stats.total_cost)
    other.http.close()
    anew = Account(server, operator)
    with SyncAPIService(server.url, anew.key) as api:
        assert api.import_usage_logs([older[1]], recalculate=True).accepted == 1
        # What their caller had said of them is kept, also of exports.
        said = [row for row in json.loads(exported) if row["client_cost"] == 0.000211]
        assert api.import_usage_logs(said, recalculate=True).accepted == 1
        stats = api.get_usage_stats(start_date="2026-09-01", end_date="2026-09-02", group_by="day")
    assert stats.total_cost == Decimal("0.000211") + Decimal("0.00021")
    anew.http.close()


def test_it_goes_in_batches_and_waits_where_it_is_asked_to(fake: FakeServer, api: APIService) -> None:
    limited = [problem(429, "rate-limited", headers={"Retry-After": "0"})]
    fake.handler = lambda seen: limited.pop() if limited else accept_all(seen)
    large = [{**CALL, "metadata": {"n": n, "x": "y" * 9000}} for n in range(1500)]
    assert api.import_usage_logs(iter(large)).accepted == 1500
    sizes = [len(seen.body["logs"]) for seen in fake.seen]
    assert sum(sizes[1:]) == 1500
    assert all(len(json.dumps(seen.body).encode()) < 5.5 * 1024 * 1024 for seen in fake.seen)
    assert len({each["idempotency_key"] for seen in fake.seen for each in seen.body["logs"]}) == 1500


def test_what_cannot_go_on_is_told(fake: FakeServer, api: APIService) -> None:
    for wrong in ("", "{", "[1", b"\xff", "{} x"):
        if wrong:
            with pytest.raises(APIValidationError):
                api.import_usage_logs(wrong)
    assert api.import_usage_logs("").accepted == 0
    fake.answer(problem(429, "quota-exceeded", resets_at="2026-12-01T00:00:00Z"))
    with pytest.raises(APIQuotaExceededError):
        api.import_usage_logs([CALL])

    def full(seen: Seen) -> Reply:
        error = {"type": "x/quota-exceeded", "status": 429, "detail": "used up"}
        return Reply(200, {"results": [{"log_id": "x"}, *[{"error": error}] * (len(seen.body["logs"]) - 1)]})

    fake.handler = full
    with pytest.raises(APIQuotaExceededError, match="used up"):
        api.import_usage_logs([CALL, CALL])
