"""What `POST /api/v1/log` takes, and what it refuses without leaving a trace."""

import json
from typing import Any

import pytest

from tests.live.conftest import Account

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}


def nested(depth: int) -> dict[str, Any]:
    """An object within an object, and so on."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"input_tokens": -5}, "input_tokens"),
    ({"input_tokens": 1.5}, "input_tokens"),
    ({"input_tokens": "1000"}, "input_tokens"),
    ({"input_tokens": None}, "input_tokens"),
    ({"input_tokens": True}, "input_tokens"),
    ({"input_tokens": 9007199254740991}, "input_tokens"),
    ({"input_tokens": 1_000_000_001}, "input_tokens"),
    ({"output_tokens": 99999999999999999999}, "output_tokens"),
    ({"cached_input_tokens": 2000}, "cached_input_tokens"),
    ({"cache_write_5m_tokens": 600, "cache_write_1h_tokens": 600}, "cache_write_5m_tokens"),
    ({"reasoning_tokens": 101}, "reasoning_tokens"),
    ({"audio_output_tokens": 60, "reasoning_tokens": 60}, "reasoning_tokens"),
    ({"audio_input_tokens": [1]}, "audio_input_tokens"),
    ({"cost": -0.01}, "cost"),
    ({"cost": 1_000_000.01}, "cost"),
    ({"cost": 1e12}, "cost"),
    ({"cost": "0.5"}, "cost"),
    ({"cost": 1e-300}, "cost"),
    ({"cost": True}, "cost"),
    ({"cost": {"usd": 1}}, "cost"),
    ({"latency_ms": -1}, "latency_ms"),
    ({"latency_ms": 10**19}, "latency_ms"),
    ({"model": ""}, "model"),
    ({"model": None}, "model"),
    ({"model": 5}, "model"),
    ({"model": "m" * 256}, "model"),
    ({"model": "gpt\0"}, "model"),
    ({"provider": ""}, "provider"),
    ({"provider": None}, "provider"),
    ({"alias": "a\0b"}, "alias"),
    ({"origin": "o" * 256}, "origin"),
    ({"origin": ["web"]}, "origin"),
    ({"id_at_origin": 7}, "id_at_origin"),
    ({"profile": False}, "profile"),
    ({"service_tier": "turbo"}, "service_tier"),
    ({"service_tier": "Standard"}, "service_tier"),
    ({"metadata": []}, "metadata"),
    ({"metadata": "text"}, "metadata"),
    ({"metadata": {"k": "a\0b"}}, "metadata"),
    ({"metadata": {"a\0": 1}}, "metadata"),
    ({"metadata": nested(17)}, "metadata"),
    ({"metadata": nested(800)}, "metadata"),
    ({"timestamp": "2031-02-30T00:00:00Z"}, "timestamp"),
    ({"timestamp": "2026-05-03T12:00:00"}, "timestamp"),
    ({"timestamp": "2026-05-03"}, "timestamp"),
    ({"timestamp": "yesterday"}, "timestamp"),
    ({"timestamp": 1760000000}, "timestamp"),
    ({"timestamp": "9999-12-31T23:59:59Z"}, "timestamp"),
    ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp"),
    ({"timestamp": "0001-01-01T00:00:00Z"}, "timestamp"),
    ({"idempotency_key": ""}, "idempotency_key"),
    ({"idempotency_key": "k" * 256}, "idempotency_key"),
]


@pytest.mark.parametrize(
    ("change", "field"), WRONG_FIELDS, ids=[str(change)[:40] for change, _ in WRONG_FIELDS]
)
def test_a_wrong_field_is_named_and_nothing_is_stored(
    account: Account, change: dict[str, Any], field: str
) -> None:
    answer = account.http.post("/api/v1/log", json={**CALL, **change})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert field in [error["field"] for error in problem["errors"]]
    assert field in problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert account.stats()["total_requests"] == 0


def test_every_wrong_field_is_named_at_once(account: Account) -> None:
    wrong = {"model": "", "provider": 7, "input_tokens": -1, "latency_ms": "soon", "service_tier": "gold"}
    problem = account.http.post("/api/v1/log", json=wrong).json()
    assert {error["field"] for error in problem["errors"]} == set(wrong)


def test_a_number_beyond_all_bounds_is_a_wrong_field_and_spoils_no_batch(account: Account) -> None:
    json_type = {"Content-Type": "application/json"}
    call = b'{"provider":"openai","model":"gpt-4o-mini","input_tokens":1000,"output_tokens":100'
    for number in (b"1e-1200", b"1e-99999999", b"1e30", b"1e99999", b"0.0000000000000000000000000000001"):
        body = call + b',"cost":' + number + b"}"
        answer = account.http.post("/api/v1/log", content=body, headers=json_type)
        assert answer.status_code == 422, (number, answer.text)
        batch = b'{"logs":[' + body + b"," + call + b"}]}"
        found = account.http.post("/api/v1/log/batch", content=batch, headers=json_type).json()
        assert (found["accepted"], found["rejected"]) == (1, 1), (number, found)
    for number in (b"0e400", b"-0", b"0.0e-5000"):
        body = call + b',"cost":' + number + b"}"
        answer = account.http.post("/api/v1/log", content=body, headers=json_type)
        assert (answer.status_code, answer.json()["cost"]) == (200, 0), (number, answer.text)


MALFORMED = [
    b'{"model":"m","provider":"p","unknown":"\xff"}',
    b"",
    b"{",
    b"nonsense",
    b'{"model":"m","provider":"p","input_tokens":NaN}',
    b'{"model":"m","provider":"p","cost":Infinity}',
    b'{"model":"m","provider":"p","alias":"x\\ud83d"}',
    b'{"model":"\xff","provider":"p"}',
    b'{"model":"m","provider":"p","other":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    b'{"model":"m","provider":"p"}trailing',
]


@pytest.mark.parametrize("body", MALFORMED, ids=[str(body[:40]) for body in MALFORMED])
def test_what_is_not_json_in_utf8_is_told_so(account: Account, body: bytes) -> None:
    answer = account.http.post("/api/v1/log", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["type"].endswith("/malformed-request")
    assert account.stats()["total_requests"] == 0


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"7", b'"text"', b'{"model":"m","provider":"p","cost":1e400}']
)
def test_json_of_the_wrong_shape_is_unprocessable(account: Account, body: bytes) -> None:
    answer = account.http.post("/api/v1/log", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text


def test_large_metadata_is_kept_whole_or_refused_at_once(account: Account) -> None:
    room = 16 * 1024 - len('{"k":""}')
    kept = account.log(**CALL, metadata={"k": "x" * room})
    [row] = account.logs()
    assert (row["id"], row["metadata"]) == (kept["log_id"], {"k": "x" * room})
    answer = account.http.post("/api/v1/log", json={**CALL, "metadata": {"k": "x" * (room + 1)}})
    assert answer.status_code == 413
    assert "metadata" in answer.json()["detail"]
    for too_much in (1024 * 1024, 2 * 1024 * 1024):
        assert (
            account.http.post("/api/v1/log", json={**CALL, "metadata": {"k": "x" * too_much}}).status_code
            == 413
        )
    assert len(account.logs()) == 1


def test_awkward_metadata_comes_back_as_it_was_sent(account: Account) -> None:
    text = (
        '{"deep":'
        + json.dumps(nested(15))
        + ',"big":1'
        + "0" * 400
        + ',"one":1.0,"one":2.50,"é😀":"\\u00e9"}'
    )
    body = json.dumps(CALL)[:-1] + f',"metadata":{text}}}'
    answer = account.http.post(
        "/api/v1/log", content=body.encode(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 200, answer.text
    assert f'"metadata":{text}' in account.http.get("/api/v1/logs").text


def test_unknown_fields_and_absent_options_are_no_fault(account: Account) -> None:
    answer = account.log(
        model="gpt-4o-mini",
        provider="openai",
        brand_new_field={"a": [1]},
        alias=None,
        profile=None,
        origin=None,
        id_at_origin=None,
        latency_ms=None,
        metadata=None,
        cost=None,
        timestamp=None,
        idempotency_key=None,
        service_tier=None,
    )
    assert (answer["cost"], answer["cost_status"]) == (0, "priced")


def test_a_record_counts_at_its_own_time_any_time_back_and_five_minutes_ahead(account: Account) -> None:
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    ahead = (now + timedelta(minutes=4)).isoformat()
    account.log(**CALL, timestamp=ahead)
    old = account.log(**CALL, timestamp="1999-12-31T23:59:59.1234567-02:00")
    assert old["timestamp"] == "2000-01-01T01:59:59.123456Z"
    too_far = account.http.post(
        "/api/v1/log", json={**CALL, "timestamp": (now + timedelta(hours=1)).isoformat()}
    )
    assert too_far.status_code == 422
    assert account.stats(start_date="2000-01-01", end_date="2000-01-01")["total_requests"] == 1


def test_a_batch_takes_what_is_good_and_says_what_is_wrong_with_the_rest(account: Account) -> None:
    logs: list[Any] = [
        CALL,
        {**CALL, "input_tokens": -1},
        7,
        {**CALL, "idempotency_key": "k"},
        {**CALL, "idempotency_key": "k"},
    ]
    answer = account.http.post("/api/v1/log/batch", json={"logs": logs})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["accepted"], body["rejected"]) == (3, 2)
    assert [result.get("index") for result in body["results"]] == [None, 1, 2, None, None]
    assert body["results"][1]["error"]["errors"][0]["field"] == "input_tokens"
    assert body["results"][3]["log_id"] == body["results"][4]["log_id"]
    assert account.stats()["total_requests"] == 2


@pytest.mark.parametrize("logs", [[], [CALL] * 1001, {}, None, "x"])
def test_a_batch_has_one_to_a_thousand_records(account: Account, logs: Any) -> None:
    answer = account.http.post("/api/v1/log/batch", json={"logs": logs})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "logs"


def test_a_batch_that_is_not_utf8_where_nobody_looks_is_malformed(account: Account) -> None:
    body = b'{"logs":[{"model":"m","provider":"p"}],"unknown":"\xff"}'
    answer = account.http.post(
        "/api/v1/log/batch", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400, answer.text
    assert account.stats()["total_requests"] == 0


def test_a_batch_with_nothing_good_in_it_is_refused(account: Account) -> None:
    answer = account.http.post("/api/v1/log/batch", json={"logs": [{**CALL, "input_tokens": -1}]})
    assert answer.status_code == 422
    assert answer.json()["rejected"] == 1
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_key_is_needed_and_the_method_is_post(account: Account) -> None:
    import httpx

    assert httpx.post(f"{account.http.base_url}/api/v1/log", json=CALL).status_code == 401
    answer = account.http.get("/api/v1/log")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
