"""An account's receipts over HTTP: asked for, declared, listed, and never another account's (case P40)."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.errors import (
    ForbiddenError,
    InvalidFieldError,
    LLMRingError,
    MalformedRequestError,
    NotFoundError,
    TooLargeError,
    UnauthenticatedError,
)
from shared.proofs.metadata import metadata_digest
from tests.receipts.house import A, B, House, Street, a_rated, a_slice, is_signed

RECEIPTS = "/api/v1/receipts"


async def issue(house: House, *accounts: UUID, **changes: Any) -> list[str]:
    """Issue a receipt for each account; their log ids."""
    rated = [a_rated(account, **changes) for account in accounts]
    await house.issuer.issue_receipts(a_slice(rated, first=await house.position()))
    return [str(each.log_id) for each in rated]


async def test_a_recorded_log_has_its_receipt(house: House) -> None:
    [log_id] = await issue(house, A)
    answer = await house.post(RECEIPTS, {"log_id": log_id})
    receipt = answer["receipt"]
    assert set(answer) == {"receipt_id", "signature", "receipt"}
    assert set(receipt) == {"receipt_id", "id", "payload", "signature", "key_id", "algorithm"}
    assert answer["receipt_id"] == receipt["receipt_id"]
    assert answer["signature"] == receipt["signature"]
    assert (receipt["payload"]["kind"], receipt["payload"]["log_id"]) == ("recorded", log_id)
    assert await house.get(f"{RECEIPTS}/{receipt['id']}") == receipt
    assert await house.get(f"{RECEIPTS}/{receipt['id'].upper()}") == receipt
    assert await house.post(RECEIPTS, {"log_id": log_id, "model": "ignored beside log_id"}) == answer


async def test_asking_right_after_logging_waits_for_the_issuer(street: Street) -> None:
    house = await street.open_house(issue_wait_ms=20_000)
    rated = a_rated()
    asking = asyncio.create_task(house.post(RECEIPTS, {"log_id": str(rated.log_id)}))
    await asyncio.sleep(0.1)
    await house.issuer.issue_receipts(a_slice([rated]))
    assert (await asking)["receipt"]["payload"]["log_id"] == str(rated.log_id)


async def test_the_answer_is_created_and_the_same_each_time(house: House) -> None:
    [log_id] = await issue(house, A)
    answers = [await house.call("POST", RECEIPTS, body={"log_id": log_id}) for _ in range(3)]
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert await house.numbers() == [1]


async def test_receipts_and_logs_of_others_do_not_exist(house: House) -> None:
    [log_id] = await issue(house, A)
    [receipt] = (await house.get(RECEIPTS))["receipts"]
    before = await house.payloads(A)

    async def refusal(method: str, path: str, body: object = None) -> tuple[type, str, object]:
        with pytest.raises(LLMRingError) as raised:
            await house.call(method, path, account=B, body=body)
        return type(raised.value), raised.value.detail, raised.value.faults

    for others, random in [
        (("GET", f"{RECEIPTS}/{receipt['id']}", None), ("GET", f"{RECEIPTS}/{uuid4()}", None)),
        (("POST", RECEIPTS, {"log_id": log_id}), ("POST", RECEIPTS, {"log_id": str(uuid4())})),
    ]:
        assert await refusal(*others) == await refusal(*random)
        assert (await refusal(*others))[0] is NotFoundError
    with pytest.raises(InvalidFieldError):
        await house.post(RECEIPTS, {"log_ids": [str(uuid4()), log_id]}, account=B)
    empty: dict[str, object] = {"receipts": [], "next": None, "superseded_by": {}}
    for query in [
        "",
        f"?log_id={log_id}",
        "?start_date=2000-01-01",
        f"?log_id={log_id}&limit=500",
        "?end_date=2099-01-01",
    ]:
        assert await house.get(RECEIPTS + query, account=B) == empty
    assert (await house.payloads(A), await house.payloads(B)) == (before, [])
    verdict = await house.post(f"{RECEIPTS}/verify", receipt, account=B)
    assert verdict == {"valid": True, "key_status": "current"}


@pytest.mark.parametrize(
    "receipt_id",
    ["x", "1", "checkpoints", "0" * 400, "%00", "%F0%9F%98%80", "{" + str(A) + "}", f"urn:uuid:{A}", A.hex],
)
async def test_an_id_that_is_none_is_not_found(house: House, receipt_id: str) -> None:
    with pytest.raises(NotFoundError, match="no such receipt"):
        await house.get(f"{RECEIPTS}/{receipt_id}")


@pytest.mark.parametrize("log_id", ["x", "", 7, [], {}, True, str(A) + "0"])
async def test_a_log_id_that_is_none_is_named(house: House, log_id: object) -> None:
    with pytest.raises(InvalidFieldError) as raised:
        await house.post(RECEIPTS, {"log_id": log_id})
    assert [fault.field for fault in raised.value.faults] == ["log_id"]


async def test_declared_usage_is_priced_and_marked_as_declared(house: House) -> None:
    answer = await house.post(
        RECEIPTS,
        {
            "model": "gpt-4o-mini",
            "provider": "openai",
            "input_tokens": 100,
            "output_tokens": 50,
            "latency_ms": 5,
            "origin": "o",
            "alias": "a",
            "profile": "p",
            "id_at_origin": "i",
            "metadata": {"k": [1.0, "v"]},
            "timestamp": "2031-05-03T14:00:00.5+02:00",
            "unknown": 1,
        },
    )
    payload = answer["receipt"]["payload"]
    assert (
        payload
        | {
            "kind": "declared",
            "log_id": None,
            "account_sequence": 1,
            "provider": "openai",
            "model": "gpt-4o-mini",
            "model_key": "openai:gpt-4o-mini",
            "input_tokens": 100,
            "output_tokens": 50,
            "cost": "0.0002",
            "calculated_cost": "0.0002",
            "client_cost": None,
            "cost_status": "priced",
            "registry_version": "2031.05.01",
            "occurred_at": "2031-05-03T12:00:00.500000Z",
            "received_at": "2031-05-03T12:00:00Z",
            "metadata_digest": metadata_digest({"k": [1, "v"]}),
        }
        == payload
    )
    assert payload["cost_breakdown"][0] == {
        "kind": "input",
        "tokens": 100,
        "usd_per_million": "1",
        "usd": "0.0001",
    }
    keys = await house.get(f"{RECEIPTS}/public-keys.json", account=None)
    assert is_signed(answer["receipt"], keys)
    assert await house.get(f"{RECEIPTS}/{answer['receipt_id']}") == answer["receipt"]


async def test_the_client_of_the_seeds_can_declare(house: House) -> None:
    """`create_receipt(model=..., input_tokens=..., output_tokens=..., cost=...)` names no provider."""
    body = {"model": "gpt-4o-mini", "input_tokens": 100, "output_tokens": 50}
    unpriced = (await house.post(RECEIPTS, body))["receipt"]["payload"]
    assert (unpriced["provider"], unpriced["cost"], unpriced["cost_status"]) == (
        None,
        None,
        "model_not_in_registry",
    )
    paid = (await house.post(RECEIPTS, json.dumps(body)[:-1].encode() + b', "cost": 0.00450}'))["receipt"][
        "payload"
    ]
    assert (paid["cost"], paid["client_cost"], paid["cost_status"]) == ("0.0045", "0.0045", "client")
    prefixed = (await house.post(RECEIPTS, body | {"model": "openai/gpt-4o-mini"}))["receipt"]["payload"]
    assert (prefixed["provider"], prefixed["model"], prefixed["cost"]) == ("openai", "gpt-4o-mini", "0.0002")


async def test_a_given_cost_stands_beside_the_calculated_one(house: House) -> None:
    body = b'{"model": "openai:gpt-4o-mini", "input_tokens": 100, "cached_input_tokens": 900, "cost": 1e-7}'
    payload = (await house.post(RECEIPTS, body))["receipt"]["payload"]
    assert (payload["cost"], payload["calculated_cost"]) == ("0.0000001", "0.0001")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (b'"input_tokens": -1', "input_tokens"),
        (b'"input_tokens": 1000000001', "input_tokens"),
        (b'"input_tokens": true', "input_tokens"),
        (b'"input_tokens": 1.5', "input_tokens"),
        (b'"input_tokens": "7"', "input_tokens"),
        (b'"output_tokens": 99999999999999999999', "output_tokens"),
        (b'"cached_input_tokens": 1', "cached_input_tokens"),
        (b'"reasoning_tokens": 1', "reasoning_tokens"),
        (b'"cost": -0.1', "cost"),
        (b'"cost": 1000000.1', "cost"),
        (b'"cost": "1"', "cost"),
        (b'"cost": true', "cost"),
        (b'"latency_ms": -1', "latency_ms"),
        (b'"alias": "a\\u0000b"', "alias"),
        (b'"alias": "' + b"x" * 256 + b'"', "alias"),
        (b'"origin": 7', "origin"),
        (b'"provider": ""', "provider"),
        (b'"model": null', "model"),
        (b'"metadata": []', "metadata"),
        (b'"metadata": {"a": "\\u0000"}', "metadata"),
        (b'"metadata": ' + b'{"a":' * 20 + b"1" + b"}" * 20, "metadata"),
        (b'"timestamp": "2031-02-30T00:00:00Z"', "timestamp"),
        (b'"timestamp": "2031-05-03T12:00:00"', "timestamp"),
        (b'"timestamp": "2031-05-03T12:05:01Z"', "timestamp"),
        (b'"service_tier": "gold"', "service_tier"),
        (b'"start_date": "2031-01-01"', "end_date"),
        (b'"end_date": "2031-01-31"', "start_date"),
    ],
    ids=lambda value: value[:40].decode() if isinstance(value, bytes) else "",
)
async def test_a_field_that_is_wrong_is_named_and_nothing_is_issued(
    house: House, wrong: bytes, field: str
) -> None:
    with pytest.raises(InvalidFieldError) as raised:
        await house.post(RECEIPTS, b'{"model": "openai:gpt-4o-mini", ' + wrong + b"}")
    assert field in [fault.field for fault in raised.value.faults]
    assert await house.payloads() == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 50_000, b'{"model": NaN}', b'{"model": "x\\ud83d"}']
)
async def test_a_body_that_is_no_json_is_malformed(house: House, body: bytes) -> None:
    with pytest.raises((MalformedRequestError, InvalidFieldError)):
        await house.post(RECEIPTS, body)


@pytest.mark.parametrize("odd", [b'"x": "\xff"', b'"\xff": 1'])
async def test_a_body_that_is_not_utf8_where_nobody_looks_is_malformed(house: House, odd: bytes) -> None:
    for asked in (
        b'"model": "openai:gpt-4o-mini"',
        b'"start_date": "2027-01-01", "end_date": "2027-02-01"',
        b'"log_id": "01a22891-46a4-7000-8af9-b00000000000"',
    ):
        with pytest.raises(MalformedRequestError):
            await house.post(RECEIPTS, b"{" + asked + b", " + odd + b"}")


async def test_a_body_that_is_too_large_is_refused(house: House) -> None:
    with pytest.raises(TooLargeError):
        await house.post(RECEIPTS, b'{"model": "' + b"x" * 70_000 + b'"}')
    with pytest.raises(TooLargeError):
        await house.post(RECEIPTS, {"model": "openai:m", "metadata": {"a": "x" * 17_000}})


async def test_an_idempotency_key_is_one_receipt_for_ever(house: House) -> None:
    body = {"model": "openai:gpt-4o-mini", "input_tokens": 5}
    key = {"Idempotency-Key": "order-1"}
    first = await house.call("POST", RECEIPTS, body=body, headers=key)
    again = await house.call("POST", RECEIPTS, body=dict(reversed(body.items())), headers=key)
    in_body = await house.call("POST", RECEIPTS, body=body | {"idempotency_key": "order-1"})
    assert first.body == again.body == in_body.body
    assert (first.status, again.status) == (201, 201)
    replayed = [dict(answer.headers).get(b"idempotent-replayed") for answer in (first, again, in_body)]
    assert replayed == [None, b"true", b"true"]
    with pytest.raises(InvalidFieldError, match="another body"):
        await house.call("POST", RECEIPTS, body=body | {"input_tokens": 6}, headers=key)
    with pytest.raises(InvalidFieldError, match="differs"):
        await house.call("POST", RECEIPTS, body=body | {"idempotency_key": "order-2"}, headers=key)
    assert await house.numbers() == [1]
    other = await house.call("POST", RECEIPTS, body=body, headers=key, account=B)
    assert other.body != first.body
    assert (await house.payloads(B))[0]["account_sequence"] == 1


async def test_one_key_at_the_same_time_is_one_receipt(street: Street) -> None:
    houses = [await street.open_house() for _ in range(2)]
    answers = await asyncio.gather(
        *(
            houses[n % 2].post(RECEIPTS, {"model": "openai:gpt-4o-mini"}, headers={"Idempotency-Key": "k"})
            for n in range(16)
        )
    )
    assert len({answer["receipt_id"] for answer in answers}) == 1
    assert await houses[0].numbers() == [1]


async def test_without_a_key_each_declaration_is_its_own(house: House) -> None:
    ids = {(await house.post(RECEIPTS, {"model": "openai:m"}))["receipt_id"] for _ in range(3)}
    assert len(ids) == 3
    assert await house.numbers() == [1, 2, 3]


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
async def test_a_key_that_is_none_is_refused(house: House, key: str) -> None:
    with pytest.raises(InvalidFieldError):
        await house.call("POST", RECEIPTS, body={"model": "openai:m"}, headers={"Idempotency-Key": key})


async def test_the_list_is_walked_without_gap_or_double(house: House) -> None:
    day = datetime(2031, 4, 1, tzinfo=UTC)
    for n in range(25):
        await issue(house, A, occurred_at=day + timedelta(hours=12 * (n % 7)))
    seen: list[dict[str, Any]] = []
    path: str | None = f"{RECEIPTS}?limit=4"
    while path:
        page = await house.get(path)
        assert len(page["receipts"]) <= 4
        seen += [receipt["payload"] for receipt in page["receipts"]]
        path = page["next"] and f"{RECEIPTS}?limit=4&cursor={page['next']}"
    assert sorted(payload["account_sequence"] for payload in seen) == list(range(1, 26))
    order = [(payload["occurred_at"], payload["account_sequence"]) for payload in seen]
    assert order == sorted(order, reverse=True)


async def test_the_list_is_cut_by_day_or_instant(house: House) -> None:
    for hour in (0, 12, 24, 36, 48):
        await issue(house, A, occurred_at=datetime(2031, 4, 1, tzinfo=UTC) + timedelta(hours=hour))

    async def numbers(query: str) -> list[int]:
        page = await house.get(f"{RECEIPTS}?{query}")
        return sorted(receipt["payload"]["account_sequence"] for receipt in page["receipts"])

    assert await numbers("start_date=2031-04-02") == [3, 4, 5]
    assert await numbers("end_date=2031-04-02") == [1, 2, 3, 4]
    assert await numbers("start_date=2031-04-02&end_date=2031-04-02") == [3, 4]
    assert await numbers("start_date=2031-04-01T12:00:00Z&end_date=2031-04-02T12:00:00Z") == [2, 3]
    assert await numbers("start_date=0001-01-01&end_date=9999-12-31") == [1, 2, 3, 4, 5]
    assert await numbers("start_date=&end_date=&log_id=&limit=&cursor=") == [1, 2, 3, 4, 5]
    [log_id] = await issue(house, A, occurred_at=datetime(2031, 4, 9, tzinfo=UTC))
    assert await numbers(f"log_id={log_id}") == [6]
    assert await numbers(f"log_id={log_id}&start_date=2031-04-09") == [6]
    assert await numbers(f"log_id={log_id}&end_date=2031-04-08") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("log_id=x", "log_id"),
        ("start_date=2031-02-30", "start_date"),
        ("end_date=yesterday", "end_date"),
        ("start_date=2031-04-02&end_date=2031-04-01", "start_date"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=many", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=WzEsMF0", "cursor"),
        ("cursor=Wzk5OTk5OTk5OTk5OTk5OTk5OTksMV0", "cursor"),
        ("cursor=%F0%9F%98%80", "cursor"),
    ],
)
async def test_a_parameter_that_is_wrong_is_named(house: House, query: str, field: str) -> None:
    with pytest.raises(InvalidFieldError) as raised:
        await house.get(f"{RECEIPTS}?{query}")
    assert [fault.field for fault in raised.value.faults] == [field]


async def test_nothing_private_answers_without_the_gateways_word(house: House) -> None:
    for method, path in [("GET", RECEIPTS), ("GET", f"{RECEIPTS}/{uuid4()}"), ("POST", RECEIPTS)]:
        with pytest.raises(UnauthenticatedError):
            await house.call(method, path, account=None, headers={"X-User-ID": str(A)})


async def test_a_key_without_the_scope_is_refused(house: House) -> None:
    [log_id] = await issue(house, A)
    for method, path, body in [
        ("GET", RECEIPTS, None),
        ("GET", f"{RECEIPTS}/{uuid4()}", None),
        ("POST", RECEIPTS, {"log_id": log_id}),
    ]:
        with pytest.raises(ForbiddenError, match="read"):
            await house.call(method, path, body=body, scopes=("log",))
    with pytest.raises(ForbiddenError, match="log"):
        await house.call("POST", RECEIPTS, body={"model": "openai:m"}, scopes=("read",))
