"""Statistics add up, in every zone, over every range, to the last digit."""

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from tests.live.conftest import Account

CALL = {
    "provider": "openai",
    "model": "gpt-4o-mini",
    "input_tokens": 1000,
    "output_tokens": 100,
    "cost": 0.0045,
}
DAY = {"start_date": "2026-05-03", "end_date": "2026-05-03"}


def send(account: Account, logs: list[dict[str, Any]]) -> None:
    for start in range(0, len(logs), 1000):
        answer = account.http.post("/api/v1/log/batch", json={"logs": logs[start : start + 1000]})
        assert answer.json()["rejected"] == 0, answer.text
    account.complete_stats()


def exact_stats(account: Account, **parameters: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(account.complete_stats(**parameters).content, parse_float=Decimal)
    return found


def test_a_day_is_whole_and_half_open(account: Account) -> None:
    for at in ["03T00:00:00Z", "03T12:00:00Z", "03T23:59:59.999999Z", "03T23:59:59.9999999Z", "04T00:00:00Z"]:
        account.log(**CALL, timestamp=f"2026-05-{at}")
    assert account.stats(**DAY)["total_requests"] == 4
    assert len(account.logs(**DAY)) == 4
    assert account.stats(start_date="2026-05-03", end_date="2026-05-04")["total_cost"] == 0.0225
    until = {"start_date": "2026-05-03T00:00:00Z", "end_date": "2026-05-04T00:00:00Z"}
    assert account.stats(**until)["total_requests"] == len(account.logs(**until)) == 4


def test_an_instant_bounds_a_range_to_the_microsecond(account: Account) -> None:
    for at in ["10:07:29.999999", "10:07:30", "10:15:00", "11:22:59.999999", "11:23:00"]:
        account.log(**CALL, timestamp=f"2026-05-03T{at}Z", latency_ms=250, origin="web")
    span = {"start_date": "2026-05-03T10:07:30Z", "end_date": "2026-05-03T11:23:00Z"}
    stats = account.stats(**span)
    assert stats["total_requests"] == 3 == len(account.logs(**span))
    assert stats["summary"]["latency_ms"]["avg"] == 250
    assert account.stats(**span, origin="web")["summary"]["latency_ms"]["p50"] in range(247, 254)
    within = {"start_date": "2026-05-03T10:07:00Z", "end_date": "2026-05-03T10:07:30Z"}
    assert account.stats(**within)["total_requests"] == 1


def test_by_period_has_every_day_also_the_empty_ones(account: Account) -> None:
    empty = account.stats(start_date="2026-04-01", end_date="2026-04-07")
    assert (empty["total_requests"], empty["total_cost"], empty["by_model"]) == (0, 0, {})
    assert len(empty["by_period"]) == 7
    account.log(**CALL, timestamp="2026-04-01T10:00:00Z")
    account.log(**CALL, timestamp="2026-04-05T10:00:00Z")
    stats = account.stats(start_date="2026-04-01", end_date="2026-04-07", group_by="day")
    assert [row["requests"] for row in stats["by_period"]] == [1, 0, 0, 0, 1, 0, 0]
    assert stats["by_period"][1] == {
        "period": "2026-04-02",
        "requests": 0,
        "cost": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cached_input_tokens": 0,
        "unpriced_requests": 0,
    }
    assert [row["date"] for row in stats["by_day"]] == ["2026-04-01", "2026-04-05"]
    assert stats["total_cost"] == 0.009


def test_weeks_begin_on_monday_and_months_on_the_first(account: Account) -> None:
    for day in ["2025-12-28", "2025-12-29", "2026-01-04", "2026-01-05"]:
        account.log(**CALL, timestamp=f"{day}T12:00:00Z")
    span = {"start_date": "2025-12-28", "end_date": "2026-01-05"}
    weeks = account.stats(**span, group_by="week")["by_period"]
    assert [(row["period"], row["requests"]) for row in weeks] == [
        ("2025-12-22", 1),
        ("2025-12-29", 2),
        ("2026-01-05", 1),
    ]
    months = account.stats(**span, group_by="month")["by_period"]
    assert [(row["period"], row["requests"]) for row in months] == [("2025-12-01", 2), ("2026-01-01", 2)]
    assert (
        len(account.stats(start_date="1970-01-01", end_date="2100-12-31", group_by="month")["by_period"])
        == 1572
    )


WRONG_RANGES = [
    ({"start_date": "2026-05-04", "end_date": "2026-05-03"}, "start_date"),
    ({"start_date": "2026-02-30"}, "start_date"),
    ({"start_date": "2026-5-3"}, "start_date"),
    ({"end_date": "0000-00-00"}, "end_date"),
    ({"end_date": "99999-01-01"}, "end_date"),
    ({"end_date": "9999-12-31"}, "end_date"),
    ({"start_date": "0001-01-01", "end_date": "9998-01-01", "group_by": "month"}, "start_date"),
    ({"start_date": "2026-05-03T10:00:00"}, "start_date"),
    ({"start_date": "2999-01-01"}, "start_date"),
    ({"start_date": "1970-01-01", "end_date": "2100-01-01"}, "start_date"),
    ({"start_date": "2025-01-01", "end_date": "2026-01-02"}, "start_date"),
    ({"group_by": "hour"}, "group_by"),
    ({"group_by": "hour'--"}, "group_by"),
    ({"timezone": "Mars/Olympus"}, "timezone"),
    ({"timezone": "../etc/passwd"}, "timezone"),
    ({"timezone": "/etc/localtime"}, "timezone"),
    ({"timezone": "Europe"}, "timezone"),
    ({"origin": "a\0b"}, "origin"),
    ({"model": "m" * 700}, "model"),
]


@pytest.mark.parametrize(("parameters", "field"), WRONG_RANGES, ids=[str(p) for p, _ in WRONG_RANGES])
def test_a_wrong_range_is_refused_by_name(account: Account, parameters: dict[str, str], field: str) -> None:
    answer = account.http.get("/api/v1/stats", params=parameters)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_empty_parameters_mean_absent_and_the_default_is_the_last_thirty_days(account: Account) -> None:
    account.log(**CALL)
    account.log(**CALL, timestamp=(datetime.now(UTC) - timedelta(days=40)).isoformat())
    stats = account.stats(start_date="", end_date="", origin="", model="", alias="", provider="", timezone="")
    assert stats["total_requests"] == 1
    assert len(stats["by_period"]) == 30
    assert (stats["group_by"], stats["timezone"]) == ("day", "UTC")
    one_bound = account.stats(end_date="2026-03-01")
    assert (one_bound["start_date"], len(one_bound["by_period"])) == ("2026-01-31", 30)


@pytest.mark.parametrize(
    "zone", ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "Pacific/Chatham"]
)
def test_every_breakdown_adds_up_to_what_a_plain_count_gives(account: Account, zone: str) -> None:
    chance = random.Random(20260503)
    start = datetime(2026, 3, 6, tzinfo=UTC)  # the clocks of New York change on 8 March
    logs = []
    for _ in range(600):
        at = start + timedelta(seconds=chance.uniform(0, 6 * 86_400))
        log: dict[str, Any] = {
            "provider": chance.choice(["openai", "OpenAI", "nobody"]),
            "model": chance.choice(["gpt-4o", "gpt-4o-mini", "unknown-1"]),
            "input_tokens": chance.randrange(5000),
            "output_tokens": chance.randrange(500),
            "timestamp": at.isoformat(),
        }
        for name, values in (("origin", ["web", "cron", None, ""]), ("alias", ["fast", None])):
            if (value := chance.choice(values)) is not None:
                log[name] = value
        if chance.random() < 0.7:
            log["latency_ms"] = chance.randrange(1, 20_000)
        logs.append(log)
    send(account, logs)
    tz = ZoneInfo(zone)
    span = {"start_date": "2026-03-07", "end_date": "2026-03-10", "timezone": zone}
    lines = account.http.get("/api/v1/logs", params={"format": "ndjson"}).text.splitlines()
    rows = [
        row
        for row in (json.loads(line, parse_float=Decimal) for line in lines)
        if "2026-03-07"
        <= datetime.fromisoformat(row["logged_at"]).astimezone(tz).date().isoformat()
        <= "2026-03-10"
    ]
    stats = exact_stats(account, **span)
    costs = [row["cost"] for row in rows]
    assert stats["total_requests"] == len(rows) == len(account.logs(**span, limit=500))
    assert stats["total_cost"] == sum(cost for cost in costs if cost is not None)
    assert stats["summary"]["unpriced_requests"] == costs.count(None)
    days = Counter(datetime.fromisoformat(row["logged_at"]).astimezone(tz).date().isoformat() for row in rows)
    assert {row["period"]: row["requests"] for row in stats["by_period"]} == days
    assert {row["date"]: row["requests"] for row in stats["by_day"]} == days
    models = Counter(row["model_key"] or f"{row['provider'].lower()}:{row['model']}" for row in rows)
    assert {name: group["requests"] for name, group in stats["by_model"].items()} == models
    assert {n: g["requests"] for n, g in stats["by_origin"].items()} == Counter(
        r["origin"] or "" for r in rows
    )
    assert {n: g["requests"] for n, g in stats["by_alias"].items()} == Counter(r["alias"] or "" for r in rows)
    assert {n: g["requests"] for n, g in stats["by_provider"].items()} == Counter(
        r["provider"].lower() for r in rows
    )
    for breakdown in ("by_model", "by_provider", "by_origin", "by_alias"):
        groups = stats[breakdown].values()
        assert sum(group["cost"] for group in groups) == stats["total_cost"]
        assert sum(group["input_tokens"] for group in groups) == stats["summary"]["input_tokens"]
    latencies = sorted(row["latency_ms"] for row in rows if row["latency_ms"] is not None)
    exact_p95 = latencies[-(-len(latencies) * 95 // 100) - 1]
    assert abs(stats["summary"]["latency_ms"]["p95"] - exact_p95) <= exact_p95 * 0.015 + 1
    web = [
        row for row in rows if row["origin"] == "web" and (row["model_key"] or "").endswith(":gpt-4o-mini")
    ]
    filtered = exact_stats(account, **span, origin="web", model="gpt-4o-mini")
    assert filtered["total_requests"] == len(
        [
            *web,
            *(r for r in rows if r["origin"] == "web" and not r["model_key"] and r["model"] == "gpt-4o-mini"),
        ]
    )
    web_latencies = sorted(
        r["latency_ms"] for r in rows if r["origin"] == "web" and r["latency_ms"] is not None
    )
    web_p50 = web_latencies[-(-len(web_latencies) // 2) - 1]
    found = exact_stats(account, **span, origin="web")["summary"]["latency_ms"]["p50"]
    assert abs(found - web_p50) <= web_p50 * 0.015 + 1


def test_a_days_figures_are_those_of_all_its_models(account: Account) -> None:
    for model in ["a", "a", "b"]:
        account.log(provider="p", model=model, cost=1, timestamp="2026-05-03T10:00:00Z")
    [day] = account.stats(**DAY)["by_day"]
    assert (day["requests"], day["cost"], day["top_model"]) == (3, 3, "p:a")


def test_a_hundred_and_fifty_origins_at_once_are_all_there(account: Account) -> None:
    origins = [f"o-{number:03}" for number in range(150)]
    send(account, [{**CALL, "origin": origin} for origin in origins])
    stats = account.stats()
    assert {name: group["cost"] for name, group in stats["by_origin"].items()} == dict.fromkeys(
        origins, 0.0045
    )
    assert (stats["total_requests"], stats["total_cost"]) == (150, 0.675)
    assert stats["summary"]["unique_origins"] == 150


def test_one_accounts_usage_is_not_anothers(account: Account, server: Any, operator: httpx.Client) -> None:
    mine = account.log(**CALL, origin="web", alias="fast")
    other = Account(server, operator)
    for name, value in [
        ("origin", "web"),
        ("alias", "fast"),
        ("model", "gpt-4o-mini"),
        ("provider", "openai"),
        ("origin", ""),
    ]:
        assert other.stats(**{name: value})["total_requests"] == 0
        assert other.logs(**{name: value}) == []
    unknown = other.http.get("/api/v1/logs/01920000-0000-7000-8000-000000000000")
    theirs = other.http.get(f"/api/v1/logs/{mine['log_id']}")
    assert theirs.status_code == unknown.status_code == 404
    assert theirs.json()["detail"] == unknown.json()["detail"]
    assert account.http.get(f"/api/v1/logs/{mine['log_id']}").status_code == 200


def test_a_filter_may_hold_any_text(account: Account, server: Any) -> None:
    names = ["YWJj==", "a=b&c", "%3D", "é😀", "=", "a b+c", "O'Brien"]
    for name in names:
        account.log(**CALL, origin=name, alias=name)
    for name in names:
        assert account.stats(origin=name)["total_requests"] == len(account.logs(alias=name)) == 1
    # As some clients write it: only what is reserved in a query is escaped.
    assert account.http.get("/api/v1/logs?origin=YWJj==").json()[0]["origin"] == "YWJj=="
    assert len(account.http.get("/api/v1/logs?origin=").json()) == len(names)


def test_rows_rollups_and_edges_agree_on_every_providers_name(account: Account) -> None:
    providers = ["İstanbul", "istanbul", "ISTANBUL", "ǅ", "ß", "\u212a"]  # the last is a Kelvin sign
    for provider in providers:
        account.log(provider=provider, model="m1", cost=1, timestamp="2026-05-03T10:07:00Z")
    whole = {"start_date": "2026-05-03", "end_date": "2026-05-03"}
    edges = {"start_date": "2026-05-03T10:06:00Z", "end_date": "2026-05-03T10:08:00Z"}
    assert account.stats(**whole)["by_provider"] == account.stats(**edges)["by_provider"]
    assert account.stats(**whole)["by_model"] == account.stats(**edges)["by_model"]
    for filters in [{"model": "m1"}, *({"provider": provider} for provider in providers)]:
        rows = len(account.logs(**whole, **filters))
        assert rows == account.stats(**whole, **filters)["total_requests"]
        assert rows == account.stats(**edges, **filters)["total_requests"]
        assert rows == (6 if "model" in filters else 2 if filters["provider"].lower() == "istanbul" else 1)
