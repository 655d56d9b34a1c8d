"""Late prices by the operator's API and by the command, on a whole server."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live.conftest import Account
from tests.live.process import ServerProcess
from tests.live.test_costs import exact

PATH = "/api/v1/admin/usage/reprice"
WHENEVER = {"start_date": "2020-01-01", "end_date": "2099-12-31"}


def name_model() -> str:
    return f"late-{uuid.uuid4().hex[:12]}"


def publish(operator: httpx.Client, name: str, **changes: Any) -> str:
    """Make a model known: $3 a million in, $15 out."""
    model = {
        "provider": "acme",
        "model_name": name,
        "dollars_per_million_tokens_input": 3,
        "dollars_per_million_tokens_output": 15,
    }
    answer = operator.post("/registry/versions", json={"models": [model], "mode": "merge", **changes})
    assert answer.status_code == 201, answer.text
    version: str = answer.json()["version"]
    return version


def call(name: str, **changes: Any) -> dict[str, Any]:
    """A call that costs 0.0045 dollars."""
    return {"provider": "acme", "model": name, "input_tokens": 1000, "output_tokens": 100, **changes}


def price(operator: httpx.Client, **changes: Any) -> dict[str, Any]:
    """One request, which must be answered."""
    answer = operator.post(PATH, json={**WHENEVER, **changes})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = exact(answer)
    return body


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def receipts_of(account: Account, log_id: str) -> dict[str, Any]:
    answer = account.http.get("/api/v1/receipts", params={"log_id": log_id})
    found: dict[str, Any] = answer.json()
    return found


def test_a_record_gets_its_price_a_second_receipt_and_its_place_in_the_statistics(
    account: Account, operator: httpx.Client
) -> None:
    name = name_model()
    key = {"Idempotency-Key": "k1"}
    first = account.http.post("/api/v1/log", json=call(name, latency_ms=90, origin="web"), headers=key)
    log_id = first.json()["log_id"]
    account.log(**call(name, cost=0.7))
    wait_for(lambda: len(receipts_of(account, log_id)["receipts"]) == 1)
    [old] = receipts_of(account, log_id)["receipts"]
    assert old["payload"]["cost"] is None
    only = {"account_id": account.account_id}
    unknown = {"provider": "acme", "model": name, "reason": "model_not_in_registry", "records": 1}
    assert price(operator, **only) == {
        "dry_run": True,
        "examined": 1,
        "priced": 0,
        "cost": 0,
        "by_model": [],
        "unpriced": [unknown],
        "next": None,
    }

    version = publish(operator, name)
    told = {
        "model_key": f"acme:{name}",
        "registry_version": version,
        "records": 1,
        "cost": Decimal("0.0045"),
    }
    for dry_run in (True, False):
        answer = price(operator, **only, dry_run=dry_run)
        assert (answer["dry_run"], answer["priced"], answer["by_model"]) == (dry_run, 1, [told])
    stats = exact(account.complete_stats())  # waits, as for a new record
    assert stats["total_cost"] == Decimal("0.7045")
    assert stats["summary"]["unpriced_requests"] == 0
    assert stats["summary"]["latency_ms"]["p50"] == 90
    assert stats["by_model"].keys() == {f"acme:{name}"}
    assert stats["by_origin"]["web"]["cost"] == Decimal("0.0045")
    entry = account.http.get(f"/api/v1/logs/{log_id}").json()
    assert (entry["cost"], entry["cost_status"], entry["registry_version"]) == (0.0045, "priced", version)
    assert entry["repriced_at"] > entry["received_at"]

    wait_for(lambda: len(receipts_of(account, log_id)["receipts"]) == 2)
    listed = receipts_of(account, log_id)
    new, still = listed["receipts"]
    assert still == old
    assert (new["payload"]["cost"], new["payload"]["supersedes"]) == ("0.0045", old["receipt_id"])
    assert new["payload"]["repriced_at"] == entry["repriced_at"]
    assert listed["superseded_by"] == {old["receipt_id"]: new["receipt_id"]}
    everything = account.http.get("/api/v1/receipts").json()
    assert everything["superseded_by"] == listed["superseded_by"]
    assert sorted(each["payload"]["account_sequence"] for each in everything["receipts"]) == [1, 2, 3]
    paged = account.http.get("/api/v1/receipts", params={"log_id": log_id, "limit": 1}).json()
    after = {"log_id": log_id, "limit": 1, "cursor": paged["next"]}
    rest = account.http.get("/api/v1/receipts", params=after).json()
    assert (paged["receipts"], rest["receipts"], rest["next"]) == ([new], [old], None)
    for each in (old, new):
        assert account.http.post("/api/v1/receipts/verify", json=each).json()["valid"]
    one = account.http.get(f"/api/v1/receipts/{old['receipt_id']}")
    assert one.headers["link"] == f'</api/v1/receipts/{new["receipt_id"]}>; rel="successor-version"'
    assert "link" not in account.http.get(f"/api/v1/receipts/{new['receipt_id']}").headers
    assert account.http.post("/api/v1/receipts", json={"log_id": log_id}).json()["receipt"] == new

    again = account.http.post("/api/v1/log", json=call(name, latency_ms=90, origin="web"), headers=key)
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert price(operator, **only, dry_run=False)["examined"] == 0


def test_a_range_is_done_part_by_part(account: Account, operator: httpx.Client) -> None:
    name = name_model()
    logs = [call(name, timestamp=f"2026-03-{day:02}T12:00:00Z") for day in range(1, 26)]
    account.http.post("/api/v1/log/batch", json={"logs": logs}).raise_for_status()
    account.complete_stats()
    publish(operator, name)
    asked: dict[str, Any] = {
        "account_id": account.account_id,
        "model": name,
        "start_date": "2026-03-02",
        "end_date": "2026-03-20",
        "limit": 4,
        "dry_run": False,
    }
    parts = []
    while True:
        part = price(operator, **asked)
        parts.append(part["priced"])
        if part["next"] is None:
            break
        asked["cursor"] = part["next"]
    assert parts == [4, 4, 4, 4, 3]
    unpriced = {each["logged_at"][8:10] for each in account.logs(limit=50) if each["cost"] is None}
    assert unpriced == {"01", "21", "22", "23", "24", "25"}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"start_date", "end_date"}),
        ({"start_date": "2026-02-30", "end_date": "soon"}, {"start_date", "end_date"}),
        ({"start_date": "2026-03-02", "end_date": "2026-03-01"}, {"start_date"}),
        ({**WHENEVER, "account_id": 7, "limit": 0, "dry_run": "no"}, {"account_id", "limit", "dry_run"}),
        ({**WHENEVER, "limit": 5001, "model": "", "cursor": 1}, {"limit", "model", "cursor"}),
        ({**WHENEVER, "model": "a\0b"}, {"model"}),
        ({**WHENEVER, "cursor": "bm90IG91cnM"}, {"cursor"}),
        ({**WHENEVER, "cursor": "\u00e9"}, {"cursor"}),
        ({**WHENEVER, "registry_version": "../../metrics"}, {"registry_version"}),
        ({**WHENEVER, "registry_version": "1999.01.01"}, {"registry_version"}),
        ([], {"body"}),
    ],
)
def test_what_is_wrong_is_named(operator: httpx.Client, body: Any, fields: set[str]) -> None:
    answer = operator.post(PATH, json=body)
    assert answer.status_code == 422, answer.text
    assert {each["field"] for each in answer.json()["errors"]} == fields


def test_only_an_operator_may(account: Account) -> None:
    assert account.http.post(PATH, json=WHENEVER).status_code == 403
    assert httpx.post(f"{account.http.base_url}{PATH}", json=WHENEVER).status_code == 401


@pytest.fixture
def own(data_dir: Path) -> Iterator[tuple[ServerProcess, Account, httpx.Client]]:
    """A server of the test's own, an account on it, and its operator."""
    process = ServerProcess(data_dir)
    process.start()
    headers = {"X-API-Key": process.operator_key}
    with httpx.Client(base_url=process.url, headers=headers, timeout=30) as operator:
        yield process, Account(process, operator), operator
    process.stop()


def start_command(process: ServerProcess, *arguments: str) -> "subprocess.Popen[str]":
    """`llmring-api usage reprice` beside the server."""
    return subprocess.Popen(
        [sys.executable, "-m", "services", "usage", "reprice", *arguments],
        env={**os.environ, "LLMRING_DATA_DIR": str(process.data_dir), "LLMRING_LOG_FORMAT": "text"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_command(process: ServerProcess, *arguments: str) -> str:
    """Run it to its end; what it printed."""
    out, errors = start_command(process, *arguments).communicate(timeout=120)
    assert errors == ""
    return out


def test_killed_in_the_middle_and_run_again_every_record_is_priced_once(
    own: tuple[ServerProcess, Account, httpx.Client],
) -> None:
    process, account, operator = own
    name = name_model()
    whole = ["--from", "2020-01-01", "--to", "2099-12-31"]
    batch = {"logs": [call(name, origin=f"o{number % 7}", latency_ms=number) for number in range(1000)]}
    for _ in range(4):
        account.http.post("/api/v1/log/batch", json=batch).raise_for_status()
    account.complete_stats()
    publish(operator, name)
    assert "4000 records without a cost, 4000 would be priced: $18.\n" in run_command(
        process, *whole, "--dry-run"
    )

    def count_unpriced() -> int:
        unpriced: int = account.stats()["summary"]["unpriced_requests"]
        return unpriced

    with ThreadPoolExecutor(1) as pool:  # traffic goes on meanwhile
        traffic = pool.submit(lambda: [account.log(**call(name)) for _ in range(100)])
        for kill in (lambda running: running.kill(), lambda running: process.kill()):
            before = count_unpriced()
            running = start_command(process, *whole)
            deadline = time.monotonic() + 60
            while count_unpriced() == before and time.monotonic() < deadline:
                time.sleep(0.01)
            traffic.result()
            kill(running)
            running.communicate(timeout=60)
    process.start()
    two = [start_command(process, *whole) for _ in range(2)]
    printed = [each.communicate(timeout=120) for each in two]
    assert [each.returncode for each in two] == [0, 0], printed
    stats = exact(account.complete_stats())
    assert (stats["total_requests"], stats["summary"]["unpriced_requests"]) == (4100, 0)
    assert stats["total_cost"] == Decimal("18.45")
    last = run_command(process, *whole)
    assert last == "0 records without a cost, 0 were priced: $0.\n"

    def verify() -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "services", "doctor", "--verify", "--json"],
            env={**os.environ, "LLMRING_DATA_DIR": str(process.data_dir)},
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    wait_for(lambda: verify()["lag"] == 0)
    found = verify()
    assert found["clean"], found
    assert (found["stored"], found["receipted"]) == (4100, 8_100)


def test_the_command_names_what_is_wrong(own: tuple[ServerProcess, Account, httpx.Client]) -> None:
    process, _, _ = own
    for arguments, complaint in [
        (["--from", "2026-02-30", "--to", "2026-03-01"], "--from: is not a possible date"),
        (["--from", "2026-03-02", "--to", "2026-03-01"], "--from must not be after --to"),
        (["--from", "2026-03-02"], "--to"),
        (["--from", "2026-03-02", "--to", "2026-03-02", "--version", "1999.01.01"], "is not in the registry"),
        (["--from", "2026-03-02", "--to", "2026-03-02", "--account", "7"], "--account"),
    ]:
        running = start_command(process, *arguments)
        _, errors = running.communicate(timeout=60)
        assert running.returncode != 0
        assert complaint in errors
        assert "Traceback" not in errors
