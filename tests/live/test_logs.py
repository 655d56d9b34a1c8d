"""Records read back: pages, filters, exports."""

import csv
import io
import json
from typing import Any

import pytest

from tests.live.conftest import Account

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}


def fill(account: Account, count: int) -> list[str]:
    """Records of which many share one instant; their ids, newest first as they must come back."""
    logs = [
        {**CALL, "timestamp": f"2026-05-03T10:{n % 7:02}:00Z", "origin": f"o{n % 3}"} for n in range(count)
    ]
    answer = account.http.post("/api/v1/log/batch", json={"logs": logs}).json()
    rows = [(log["timestamp"], result["log_id"]) for log, result in zip(logs, answer["results"], strict=True)]
    return [log_id for _, log_id in sorted(rows, reverse=True)]


def test_pages_by_cursor_give_every_record_once_in_order(account: Account) -> None:
    ids = fill(account, 203)
    seen: list[str] = []
    target = "/api/v1/logs?limit=20&start_date=2026-05-03&end_date=2026-05-03"
    for _ in range(30):
        answer = account.http.get(target)
        seen += [row["id"] for row in answer.json()]
        if "link" not in answer.headers:
            break
        target, _, rel = answer.headers["link"].partition(">; ")
        assert rel == 'rel="next"'
        target = target.removeprefix("<")
        account.log(**CALL)  # what arrives meanwhile disturbs no page
    assert seen == ids


def test_pages_by_offset_and_the_default_page(account: Account) -> None:
    ids = fill(account, 60)
    assert [row["id"] for row in account.logs()] == ids[:50]
    assert [row["id"] for row in account.logs(limit=7, offset=55)] == ids[55:]
    assert len(account.logs(origin="o1", limit=500)) == 20


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_an_export_streams_all_of_them(account: Account, form: str) -> None:
    logs = [{**CALL, "metadata": {"n": n}, "alias": 'say "hi", twice'} for n in range(2300)]
    for start in (0, 1000, 2000):
        account.http.post("/api/v1/log/batch", json={"logs": logs[start : start + 1000]}).raise_for_status()
    account.stats()
    answer = account.http.get("/api/v1/logs", params={"format": form})
    assert answer.status_code == 200
    rows: list[dict[str, Any]]
    if form == "csv":
        assert answer.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert {row["alias"] for row in rows} == {'say "hi", twice'}
        assert sorted(json.loads(row["metadata"])["n"] for row in rows) == list(range(2300))
    else:
        rows = [json.loads(line) for line in answer.text.splitlines()]
    assert len({row["id"] for row in rows}) == 2300


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"offset": "-1"}, "offset"),
        ({"offset": "99999999999999999999"}, "offset"),
        ({"cursor": "AAAA"}, "cursor"),
        ({"cursor": "%00"}, "cursor"),
        ({"format": "xml"}, "format"),
        ({"start_date": "2026-05-04", "end_date": "2026-05-03"}, "start_date"),
        ({"end_date": "2026-02-30"}, "end_date"),
        ({"alias": "a\0b"}, "alias"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(
    account: Account, parameters: dict[str, str], field: str
) -> None:
    answer = account.http.get("/api/v1/logs", params=parameters)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_record_just_logged_can_be_read_by_its_id(account: Account) -> None:
    for _ in range(20):
        log_id = account.log(**CALL)["log_id"]
        entry = account.http.get(f"/api/v1/logs/{log_id}")
        assert (entry.status_code, entry.json()["id"], entry.json()["state"]) == (200, log_id, "stored")


@pytest.mark.parametrize("log_id", ["x", "0", "01920000-0000-7000-8000-000000000000", "%2e%2e", "a" * 300])
def test_an_unknown_id_is_not_found(account: Account, log_id: str) -> None:
    assert account.http.get(f"/api/v1/logs/{log_id}").status_code in (404, 422)
