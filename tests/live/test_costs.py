"""What a call costs, from the request to the row, the statistics and the receipt."""

import json
import time
import uuid
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from shared.pricing.tokens import Tokens
from tests.live.conftest import Account
from tests.pricing.price_card import CARD
from tests.pricing.test_known_costs import KNOWN

STANDARD_CALL = {"model": "quill-1", "input_tokens": 1000, "output_tokens": 100}  # costs 0.0045


@pytest.fixture(scope="session")
def acme(operator: httpx.Client) -> str:
    """The price card of the known costs, published once under a provider of its own."""
    models = json.loads(msgspec.json.Encoder(decimal_format="number").encode(list(CARD.values())))
    answer = operator.post(
        "/registry/versions",
        json={"models": models, "mode": "merge", "effective_from": "2020-01-01T00:00:00Z"},
    )
    assert answer.status_code == 201, answer.text
    return "acme"


def exact(answer: httpx.Response) -> Any:
    """A JSON answer with its numbers as exact decimals."""
    return json.loads(answer.content, parse_float=Decimal)


def receipt_of(account: Account, log_id: str) -> dict[str, Any]:
    """The receipt of a record; it is issued a moment later."""
    deadline = time.monotonic() + 10
    while True:
        receipts = account.http.get("/api/v1/receipts", params={"log_id": log_id}).json()["receipts"]
        if receipts:
            found: dict[str, Any] = receipts[0]
            return found
        assert time.monotonic() < deadline, "no receipt after 10 s"
        time.sleep(0.05)


def body_of(model: str, tokens: Tokens) -> dict[str, Any]:
    """A usage record with these counts."""
    return {
        "provider": "acme",
        "model": model,
        **{f"{name}_tokens": count for name, count in msgspec.structs.asdict(tokens).items() if count},
    }


@pytest.mark.parametrize(
    ("model", "tokens", "expected"), [row[1:] for row in KNOWN], ids=[row[0] for row in KNOWN]
)
def test_a_known_call_costs_the_same_everywhere_to_the_last_digit(
    account: Account, acme: str, model: str, tokens: Tokens, expected: str
) -> None:
    reply = exact(account.http.post("/api/v1/log", json=body_of(model, tokens)))
    cost = None if expected == "model_not_in_registry" else Decimal(expected)
    assert (reply["cost"], reply["cost_status"]) == (cost, "priced" if cost is not None else expected)
    [row] = exact(account.http.get("/api/v1/logs"))
    assert (row["id"], row["cost"], row["model"]) == (reply["log_id"], cost, model)
    stats = exact(account.http.get("/api/v1/stats"))
    assert stats["total_cost"] == stats["summary"]["total_cost"] == (cost or 0)
    assert stats["summary"]["unpriced_requests"] == (cost is None)
    assert stats["summary"]["total_tokens"] == tokens.input + tokens.output
    payload = receipt_of(account, reply["log_id"])["payload"]
    assert payload["cost"] == (None if cost is None else expected)
    assert sum(Decimal(line["usd"]) for line in payload["cost_breakdown"]) == (cost or 0)


def test_more_cached_than_input_tokens_is_refused_and_leaves_nothing(account: Account, acme: str) -> None:
    body = body_of("quill-1", Tokens(input=40, output=90, cached_input=52_000))
    answer = account.http.post("/api/v1/log", json=body)
    assert answer.status_code == 422
    assert "input_tokens must include cached_input_tokens" in answer.json()["detail"]
    assert account.stats()["total_requests"] == 0
    assert account.log(**body, cost=0.01)["cost"] == 0.01


def test_a_service_tier_is_billed_at_its_own_prices_or_not_at_all(account: Account, acme: str) -> None:
    million = {"provider": acme, "model": "quill-1", "input_tokens": 1_000_000, "output_tokens": 100_000}
    assert account.log(**million, service_tier="batch")["cost"] == 2.25
    assert account.log(**million, cached_input_tokens=400_000, service_tier="batch")["cost"] == 1.71
    unpriced = account.log(**million, service_tier="flex")
    assert (unpriced["cost"], unpriced["cost_status"]) == (None, "no_pricing_for_tier")
    assert account.log(**million, metadata={"service_tier": "batch"})["cost"] == 4.5
    answer = account.http.post("/api/v1/log", json={**million, "service_tier": "turbo"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "service_tier"


def test_a_clients_own_cost_wins_also_when_it_is_zero_and_stands_beside_the_calculated_one(
    account: Account, acme: str
) -> None:
    given = account.log(provider=acme, **STANDARD_CALL, cost=0.5, origin="web", alias="a")
    free = account.log(provider=acme, **STANDARD_CALL, cost=0, origin="web", alias="a")
    calculated = account.log(provider=acme, **STANDARD_CALL, origin="web", alias="a")
    assert [given["cost"], free["cost"], calculated["cost"]] == [0.5, 0, 0.0045]
    assert [given["cost_status"], calculated["cost_status"]] == ["client", "priced"]
    rows = exact(account.http.get("/api/v1/logs"))
    assert {str(row["calculated_cost"]) for row in rows} == {"0.0045"}
    stats = exact(account.http.get("/api/v1/stats"))
    total = Decimal("0.5045")
    assert stats["total_cost"] == total
    assert (
        stats["by_day"][0]["cost"]
        == stats["by_origin"]["web"]["cost"]
        == stats["by_alias"]["a"]["cost"]
        == total
    )
    assert stats["by_model"]["acme:quill-1"]["cost"] == total


def test_a_sum_of_many_small_costs_has_no_float_tail(account: Account, acme: str) -> None:
    call = {"provider": acme, "model": "quill-1-mini", "input_tokens": 700, "output_tokens": 233}
    answer = account.http.post("/api/v1/log/batch", json={"logs": [call] * 1000})
    assert answer.json()["accepted"] == 1000
    for _ in range(10):
        account.log(provider=acme, **STANDARD_CALL, cost=0.1)
    text = account.http.get("/api/v1/stats").text
    assert '"total_cost":1.6528,' in text


def test_a_very_small_cost_is_written_in_plain_notation(account: Account, acme: str) -> None:
    text = account.http.post(
        "/api/v1/log", json={"provider": acme, "model": "dust", "input_tokens": 1, "output_tokens": 0}
    ).text
    assert '"cost":0.000000005,' in text


def test_one_model_under_four_spellings_is_one_model(account: Account, acme: str) -> None:
    tokens = {"input_tokens": 2000, "output_tokens": 500}
    for provider, model in [
        ("acme", "quill-1-mini"),
        ("acme", "acme/quill-1-mini"),
        ("acme", "acme:quill-1-mini"),
        ("ACME", "quill-1-mini"),
    ]:
        assert account.log(provider=provider, model=model, **tokens)["cost"] == 0.0016
    assert account.log(model="acme:quill-1-mini", **tokens)["cost"] == 0.0016
    assert account.log(model="acme/quill-1-mini", **tokens)["cost"] == 0.0016
    assert account.stats()["by_model"].keys() == {"acme:quill-1-mini"}
    contradiction = account.log(provider="globex", model="acme:quill-1", **tokens)
    assert contradiction["cost"] is None
    sent = {row["model"] for row in account.logs(model="quill-1-mini")}
    assert sent == {"quill-1-mini", "acme/quill-1-mini", "acme:quill-1-mini"}


def test_old_usage_keeps_its_price_and_late_usage_gets_the_price_of_its_time(
    account: Account, operator: httpx.Client
) -> None:
    provider = f"p{uuid.uuid4().hex[:8]}"

    def publish(input_price: float, output_price: float, effective_from: str | None) -> str:
        model = {
            "provider": provider,
            "model_name": "quill-1",
            "dollars_per_million_tokens_input": input_price,
            "dollars_per_million_tokens_output": output_price,
        }
        body: dict[str, Any] = {"models": [model], "mode": "merge"}
        if effective_from:
            body["effective_from"] = effective_from
        answer = operator.post("/registry/versions", json=body)
        assert answer.status_code == 201, answer.text
        version: str = answer.json()["version"]
        return version

    v7 = publish(3, 15, "2026-02-01T00:00:00Z")
    v8 = publish(2, 10, "2026-03-01T00:00:00Z")
    call = {"provider": provider, "model": "quill-1", "input_tokens": 100_000, "output_tokens": 10_000}

    def log_at(at: str) -> dict[str, Any]:
        deadline = time.monotonic() + 5
        while True:  # a publish reaches ingest within a second
            answer = account.log(**call, timestamp=at)
            if answer["cost"] is not None or time.monotonic() > deadline:
                return answer
            time.sleep(0.1)

    before, after = log_at("2026-02-28T23:59:59Z"), log_at("2026-03-01T00:00:00Z")
    unpriced_first = account.stats(start_date="2026-02-01", end_date="2026-03-31")["summary"][
        "unpriced_requests"
    ]
    assert (before["cost"], before["registry_version"]) == (0.45, v7)
    assert (after["cost"], after["registry_version"]) == (0.3, v8)
    span = {"start_date": "2026-02-01", "end_date": "2026-03-31"}
    for each in (before, after):
        receipt_of(account, each["log_id"])

    def read_all() -> list[bytes]:
        paths = ("/api/v1/stats", "/api/v1/logs", "/api/v1/receipts")
        return [account.http.get(path, params=span).content for path in paths]

    recorded = read_all()
    assert json.loads(recorded[0])["total_cost"] == 0.75
    v9 = publish(1, 5, None)
    time.sleep(1)
    assert read_all() == recorded  # byte for byte
    assert account.log(**call)["registry_version"] == v9
    late = account.log(**call, timestamp="2026-02-28T10:00:00Z")
    assert (late["cost"], late["registry_version"]) == (0.45, v7)
    assert unpriced_first == 0


def test_a_real_model_of_the_fresh_registry_is_priced(account: Account) -> None:
    registry = exact(httpx.get(f"{account.http.base_url}/registry.json"))
    key, model = next(
        (key, model)
        for key, model in sorted(registry["models"].items())
        if model["provider"] == "openai" and model.get("dollars_per_million_tokens_cached_input")
    )
    call = {"model": key, "input_tokens": 12_345, "output_tokens": 678, "cached_input_tokens": 2_345}
    reply = exact(account.http.post("/api/v1/log", json=call))
    expected = (
        10_000 * model["dollars_per_million_tokens_input"]
        + 2_345 * model["dollars_per_million_tokens_cached_input"]
        + 678 * model["dollars_per_million_tokens_output"]
    ) / 1_000_000
    assert reply["cost"] == expected
    assert reply["registry_version"] == registry["version"]


def test_sums_larger_than_32_bits_are_exact(account: Account, acme: str) -> None:
    call = {"provider": acme, "model": "penny", "input_tokens": 10_000_000, "output_tokens": 0}
    account.http.post("/api/v1/log/batch", json={"logs": [call] * 215}).raise_for_status()
    text = account.http.get("/api/v1/stats").text
    assert '"input_tokens":2150000000,' in text
    assert '"total_cost":215,' in text
