"""Statements over a range: exact, signed, tied to the log, and readable by people."""

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.contracts.usage import UsageRated
from shared.errors import InvalidFieldError, NotFoundError
from tests.receipts.house import NOW, A, B, House, a_rated, a_slice, is_signed

PATH = "/api/v1/receipts"
DAY = {"start_date": "2031-05-03", "end_date": "2031-05-03"}
MEASURES = (
    "requests",
    "unpriced_requests",
    "cost",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
)


async def issue(house: House, *rated: UsageRated, first: int = 0) -> None:
    await house.issuer.issue_receipts(a_slice(list(rated), first=first))


async def state(house: House, **asked: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await house.post(PATH, {**DAY, **asked})
    return answer["receipt"]


def cost(value: str | None, **changes: Any) -> UsageRated:
    status = "priced" if value else "model_not_in_registry"
    return a_rated(cost=value, calculated_cost=value, cost_status=status, calculated_status=status, **changes)


async def test_a_statement_adds_up_what_the_receipts_say(house: House) -> None:
    await issue(
        house,
        cost("0.1", origin="web"),
        cost("0.2", origin="web", model_key="openai:b"),
        cost("0.0000000375", origin=None),
        cost(None, model_key=None, provider="OpenAI", model="New", origin="web"),
        cost("7", account_id=B),
        cost("9", occurred_at=datetime(2031, 5, 4, tzinfo=UTC)),
        cost("9", occurred_at=datetime(2031, 5, 3, tzinfo=UTC) - timedelta(microseconds=1)),
    )
    await house.post(PATH, {"model": "m", "cost": 1000, "timestamp": "2031-05-03T11:00:00Z"})
    receipt = await state(house)
    payload = receipt["payload"]
    assert (payload["kind"], payload["currency"]) == ("statement", "USD")
    assert (payload["start_at"], payload["end_at"]) == ("2031-05-03T00:00:00Z", "2031-05-04T00:00:00Z")
    assert payload["total"] == {
        "requests": 4,
        "unpriced_requests": 1,
        "cost": "0.3000000375",
        "input_tokens": 4800,
        "output_tokens": 1360,
        "cached_input_tokens": 400,
    }
    assert [(line["model"], line["requests"], line["cost"]) for line in payload["by_model"]] == [
        ("openai:b", 1, "0.2"),
        ("openai:gpt-4o-mini", 2, "0.1000000375"),
        ("openai:New", 1, "0"),
    ]
    assert [(line["origin"], line["requests"], line["cost"]) for line in payload["by_origin"]] == [
        ("web", 3, "0.3"),
        (None, 1, "0.0000000375"),
    ]
    keys = await house.get(f"{PATH}/public-keys.json", account=None)
    assert is_signed(receipt, keys)
    assert await house.post(f"{PATH}/verify", receipt, account=None) == {
        "valid": True,
        "key_status": "current",
    }


async def test_a_statement_names_the_receipts_that_it_rests_on(house: House) -> None:
    await issue(house, *(cost("1") for _ in range(5)))
    checkpoint = (await house.call("GET", f"{PATH}/checkpoint", account=None)).body.decode().split("\n")
    payload = (await state(house))["payload"]
    assert (payload["through_sequence"], payload["account_sequence"]) == (5, 6)
    assert [payload["log_origin"], str(payload["checkpoint_size"]), payload["checkpoint_root"]] == checkpoint[
        :3
    ]
    assert (await house.get(f"{PATH}/{payload['receipt_id']}/proof"))["leaf_index"] == 5
    again = (await state(house))["payload"]
    assert (again["through_sequence"], again["total"]) == (6, payload["total"])


async def test_a_record_that_was_priced_later_counts_once_with_its_cost(house: House) -> None:
    unpriced = cost(None)
    await issue(house, unpriced, cost("1"))
    assert (await state(house))["payload"]["total"]["unpriced_requests"] == 1
    priced = cost("0.5", log_id=unpriced.log_id, repriced_at=NOW)
    await issue(house, priced, first=2)
    total = (await state(house))["payload"]["total"]
    assert (total["requests"], total["unpriced_requests"], total["cost"]) == (2, 0, "1.5")


async def test_an_empty_range_is_stated_as_empty(house: House) -> None:
    payload = (await state(house, start_date="2030-01-01", end_date="2030-01-31"))["payload"]
    assert payload["total"] == {name: "0" if name == "cost" else 0 for name in MEASURES}
    assert payload["by_model"] == payload["by_origin"] == []
    assert payload["through_sequence"] == 0


async def test_more_models_than_a_statement_has_lines_share_the_last_one(house: House) -> None:
    await issue(house, *(cost(str(number), model_key=f"openai:m{number}") for number in range(1, 201)))
    receipt = await state(house)
    lines = receipt["payload"]["by_model"]
    assert len(lines) == 151
    assert lines[0]["model"] == "openai:m200"
    assert (lines[-1]["others"], lines[-1]["requests"]) == (50, 50)
    assert (
        sum(Decimal(line["cost"]) for line in lines) == Decimal(receipt["payload"]["total"]["cost"]) == 20_100
    )
    assert (await house.post(f"{PATH}/verify", receipt, account=None))["valid"]


async def test_an_idempotency_key_gives_one_statement(house: House) -> None:
    await issue(house, cost("1"))
    key = {"idempotency-key": "may"}
    first = await house.call("POST", PATH, body=DAY, headers=key)
    await issue(house, cost("1"), first=1)
    second = await house.call("POST", PATH, body=DAY, headers=key)
    assert first.body == second.body
    assert dict(second.headers)[b"idempotent-replayed"] == b"true"
    with pytest.raises(InvalidFieldError):
        await house.call("POST", PATH, body={**DAY, "end_date": "2031-05-04"}, headers=key)
    with pytest.raises(InvalidFieldError):
        await house.call("POST", PATH, body={"model": "m", "cost": 1}, headers=key)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"start_date": "2031-05-03"}, "end_date"),
        ({"end_date": "2031-05-03"}, "start_date"),
        ({"start_date": "2031-05-04", "end_date": "2031-05-03"}, "start_date"),
        ({"start_date": "2031-02-30", "end_date": "2031-05-03"}, "start_date"),
        ({"start_date": 5, "end_date": "2031-05-03"}, "start_date"),
        ({"start_date": "2029-05-03", "end_date": "2031-05-03"}, "end_date"),
    ],
)
async def test_a_range_that_is_none_is_refused_and_named(house: House, asked: object, field: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        await house.post(PATH, asked)
    assert [fault.field for fault in refused.value.faults] == [field]
    assert await house.numbers() == []


async def test_a_statement_as_a_table_and_as_a_page(house: House) -> None:
    evil = "=cmd|'/c calc'!A1 <script>alert(1)</script>"
    await issue(
        house,
        cost("0.1", origin=evil),
        cost("0.2", origin="a,b"),
        cost("0", origin="\n=1"),
        cost("0", origin="\uff1d1"),
    )
    receipt = await state(house)
    table = await house.call("GET", f"{PATH}/{receipt['id']}/statement.csv")
    assert dict(table.headers)[b"content-type"] == b"text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(table.body.decode())))
    assert [(row["dimension"], row["name"], row["cost"]) for row in rows] == [
        ("total", "", "0.3"),
        ("model", "openai:gpt-4o-mini", "0.3"),
        ("origin", "a,b", "0.2"),
        ("origin", f"'{evil}", "0.1"),
        ("origin", "'\n=1", "0"),
        ("origin", "'\uff1d1", "0"),
    ]
    page = await house.call("GET", f"{PATH}/{receipt['id']}/statement.html")
    text = page.body.decode()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert receipt["signature"] in text.replace("&#x2B;", "+")
    assert b"default-src 'none'" in dict(page.headers)[b"content-security-policy"]


@pytest.mark.parametrize("form", ["csv", "html"])
async def test_only_an_accounts_own_statement_is_shown(house: House, form: str) -> None:
    await issue(house, cost("1"))
    [payload] = await house.payloads()
    with pytest.raises(NotFoundError, match="not a statement"):
        await house.call("GET", f"{PATH}/{payload['receipt_id']}/statement.{form}")
    receipt = await state(house)
    with pytest.raises(NotFoundError, match="no such receipt"):
        await house.call("GET", f"{PATH}/{receipt['id']}/statement.{form}", account=B)
    assert await house.numbers(A) == [1, 2]
