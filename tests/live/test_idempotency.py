"""The same key and body is one record with one answer, for ever."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.live.conftest import Account
from tests.live.process import ServerProcess

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}


def test_a_retry_is_answered_alike_and_counted_once(account: Account) -> None:
    header = {"Idempotency-Key": "7f1c"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: account.http.post("/api/v1/log", json=CALL, headers=header), range(16))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 15
    assert account.stats()["total_requests"] == 1
    later = account.http.post("/api/v1/log", json=CALL, headers=header)
    assert later.text == answers[0].text
    assert later.headers["idempotent-replayed"] == "true"
    assert account.stats()["total_requests"] == 1
    assert uuid.UUID(later.json()["log_id"]).version == 5


def test_the_key_may_stand_in_the_body_and_white_space_does_not_matter(account: Account) -> None:
    first = account.log(**CALL, idempotency_key="k1")
    spaced = account.http.post(
        "/api/v1/log",
        content=b'{"output_tokens": 100,\n"input_tokens":1000,"provider" : "openai", "model":"gpt-4o-mini" }',
        headers={"Idempotency-Key": "k1", "Content-Type": "application/json"},
    )
    assert spaced.json() == first
    differ = account.http.post(
        "/api/v1/log", json={**CALL, "idempotency_key": "k1"}, headers={"Idempotency-Key": "k2"}
    )
    assert differ.status_code == 422


def test_the_same_key_with_another_body_is_refused_and_the_first_record_stays(account: Account) -> None:
    first = account.log(**CALL, idempotency_key="k")
    answer = account.http.post("/api/v1/log", json={**CALL, "output_tokens": 101, "idempotency_key": "k"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "idempotency_key"
    [row] = account.logs()
    assert (row["id"], row["output_tokens"]) == (first["log_id"], 100)


def test_ids_that_callers_choose_are_no_idempotency_keys(
    account: Account, server: ServerProcess, operator: httpx.Client
) -> None:
    for id_at_origin in ["conv-42"] * 5 + [None] * 2 + [""] * 2 + ["None"] * 2:
        account.log(**CALL, id_at_origin=id_at_origin)
    assert account.stats()["total_requests"] == 11
    mine = account.log(**CALL, idempotency_key="7f1c")
    other = Account(server, operator)
    theirs = other.log(**CALL, idempotency_key="7f1c")
    assert mine["log_id"] != theirs["log_id"]
    assert (account.stats()["total_requests"], other.stats()["total_requests"]) == (12, 1)


def test_without_a_key_two_calls_are_two_calls(account: Account) -> None:
    account.log(**CALL)
    account.log(**CALL)
    assert account.stats()["total_requests"] == 2


def test_two_batches_that_share_keys_in_opposite_order_both_end(account: Account) -> None:
    keys = [f"k{number}" for number in range(50)]
    batches = [[{**CALL, "idempotency_key": key} for key in order] for order in (keys, keys[::-1])] * 4
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda logs: account.http.post("/api/v1/log/batch", json={"logs": logs}), batches)
        )
    assert {answer.json()["accepted"] for answer in answers} == {50}
    assert account.stats()["total_requests"] == 50


def test_how_a_body_is_written_makes_no_difference(account: Account) -> None:
    pairs = [
        ('"metadata":{"a":1,"b":"\\u00e9"}', '"metadata" : {"b": "é", "a": 1}'),
        ('"cost":1.0', '"cost":1.00'),
        ('"cost":1', '"cost":1e0'),
        ('"cost":null,"metadata":null', '"unknown":[1]'),
        ('"service_tier":"standard"', '"service_tier":null'),
        ('"timestamp":"2026-05-03T12:00:00Z"', '"timestamp":"2026-05-03T14:00:00.000+02:00"'),
    ]
    for number, (first, second) in enumerate(pairs):
        answers = [
            account.http.post(
                "/api/v1/log",
                content=f'{{"provider":"openai","model":"gpt-4o","idempotency_key":"n{number}",{more}}}'.encode(),
                headers={"Content-Type": "application/json"},
            )
            for more in (first, second)
        ]
        assert [answer.status_code for answer in answers] == [200, 200], answers[1].text
        assert answers[0].text == answers[1].text
    assert account.stats(start_date="2026-01-01")["total_requests"] == len(pairs)


def test_a_replay_in_a_batch_is_answered_whatever_stands_beside_it(account: Account) -> None:
    first = account.log(**CALL, idempotency_key="k")
    other = {**CALL, "output_tokens": 7, "idempotency_key": "k"}
    same = {**CALL, "idempotency_key": "k"}
    found = account.http.post("/api/v1/log/batch", json={"logs": [other, same, other]}).json()
    assert (found["accepted"], found["rejected"]) == (1, 2)
    assert found["results"][1] == first
    assert [found["results"][index]["error"]["status"] for index in (0, 2)] == [422, 422]
    fresh = {**CALL, "idempotency_key": "new"}
    changed = {**fresh, "output_tokens": 7}
    found = account.http.post("/api/v1/log/batch", json={"logs": [fresh, changed, fresh]}).json()
    assert [result.get("error", {}).get("status") for result in found["results"]] == [None, 409, None]
    assert account.stats()["total_requests"] == 2


def test_two_different_keys_in_one_request_are_refused(account: Account) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert account.http.post("/api/v1/log", json=CALL, headers=headers).status_code == 400
