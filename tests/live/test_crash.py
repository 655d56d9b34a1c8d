"""`kill -9`, again and again: what was acknowledged is counted, priced and receipted exactly once."""

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from shared.proofs.signing import decode_base64, verify
from tests.live.conftest import Account
from tests.live.process import ServerProcess

RECORDS = 10_000
ACCOUNTS = 5
SENDERS = 12
KILLS = 5
SETTLE_S = 120


class Sender(threading.Thread):
    """Sends its share of the records until each is acknowledged, however often the server dies."""

    def __init__(
        self, url: str, work: Iterator[list[dict[str, Any]]], keys: list[str], chance: random.Random
    ) -> None:
        super().__init__(daemon=True)
        self.url, self.work, self.keys, self.chance = url, work, keys, chance
        self.acknowledged: dict[str, dict[str, dict[str, Any]]] = {key: {} for key in keys}
        self.retries = 0
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self.url, timeout=10) as client:
                for records in self.work:
                    self._send(client, self.chance.choice(self.keys), records)
        except BaseException as fault:
            self.fault = fault

    def _send(self, client: httpx.Client, key: str, records: list[dict[str, Any]]) -> None:
        answers = self._until_acknowledged(client, key, records)
        for answer in answers:
            self.acknowledged[key][answer["log_id"]] = answer
        if self.chance.random() < 0.1:  # a client that did not hear the answer
            self.retries += len(records)
            again = self._until_acknowledged(client, key, records)
            assert again == answers, f"a retry was answered otherwise: {again} after {answers}"

    def _until_acknowledged(
        self, client: httpx.Client, key: str, records: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        headers = {"X-API-Key": key}
        deadline = time.monotonic() + 120
        while True:
            try:
                if len(records) == 1:
                    answer = client.post("/api/v1/log", json=records[0], headers=headers)
                else:
                    answer = client.post("/api/v1/log/batch", json={"logs": records}, headers=headers)
                if answer.status_code == 200:
                    body = json.loads(answer.content, parse_float=Decimal)
                    return [body] if len(records) == 1 else list(body["results"])
                assert answer.status_code in (429, 503), answer.text
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, "not acknowledged for two minutes"
            time.sleep(0.05)


def make_work(chance: random.Random) -> list[list[dict[str, Any]]]:
    """All records, each with an idempotency key of its own, alone or in batches."""
    work: list[list[dict[str, Any]]] = []
    left = RECORDS
    while left:
        size = min(left, 1 if chance.random() < 0.9 else chance.randrange(2, 60))
        work.append(
            [
                {
                    "provider": "openai",
                    "model": chance.choice(["gpt-4o", "gpt-4o-mini", "o3", "not-in-registry"]),
                    "input_tokens": chance.randrange(100_000),
                    "output_tokens": chance.randrange(10_000),
                    "origin": chance.choice(["web", "cron"]),
                    "latency_ms": chance.randrange(5000),
                    "idempotency_key": f"{chance.getrandbits(128):032x}",
                    **({"cost": chance.randrange(1000) / 1000} if chance.random() < 0.1 else {}),
                }
                for _ in range(size)
            ]
        )
        left -= size
    return work


class Shared:
    """One list for several senders."""

    def __init__(self, items: list[list[dict[str, Any]]]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()

    def __iter__(self) -> "Shared":
        return self

    def __next__(self) -> list[dict[str, Any]]:
        with self._lock:
            return next(self._items)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_was_acknowledged_is_counted_priced_and_receipted_once(data_dir: Path) -> None:
    chance = random.Random(int(os.environ["LLMRING_TEST_SEED"]))
    server = ServerProcess(data_dir)
    server.start()
    try:
        operator = httpx.Client(base_url=server.url, headers={"X-API-Key": server.operator_key}, timeout=30)
        accounts = {account.key: account for account in (Account(server, operator) for _ in range(ACCOUNTS))}
        work = Shared(make_work(chance))
        senders = [
            Sender(server.url, work, list(accounts), random.Random(chance.getrandbits(64)))
            for _ in range(SENDERS)
        ]
        for sender in senders:
            sender.start()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.3, 1.8))
            server.kill()
            time.sleep(chance.uniform(0, 0.3))
            server.start()
        for sender in senders:
            sender.join(timeout=300)
            assert sender.fault is None, sender.fault
            assert not sender.is_alive()
        assert sum(sender.retries for sender in senders) > RECORDS // 20
        acknowledged = {
            key: {log_id: answer for sender in senders for log_id, answer in sender.acknowledged[key].items()}
            for key in accounts
        }
        assert sum(map(len, acknowledged.values())) == RECORDS
        public = httpx.get(f"{server.url}/api/v1/receipts/public-keys.json").json()
        keys = {key["key_id"]: decode_base64(key["public_key"]) for key in public["keys"]}
        for key, account in accounts.items():
            account.http.close()
            account.http = httpx.Client(base_url=server.url, headers={"X-API-Key": key}, timeout=30)
            check(account, acknowledged[key], keys)
    finally:
        server.stop()


def check(account: Account, acknowledged: dict[str, dict[str, Any]], keys: dict[str, bytes]) -> None:
    """Rows, rollups and receipts of an account are those of its acknowledged records, to the last digit."""
    receipts = settled_receipts(account, len(acknowledged))
    lines = account.http.get("/api/v1/logs", params={"format": "ndjson"}).content.splitlines()
    rows = [json.loads(line, parse_float=Decimal) for line in lines]
    assert len(rows) == len(acknowledged)
    assert {row["id"]: row["cost"] for row in rows} == {i: a["cost"] for i, a in acknowledged.items()}
    priced = [answer["cost"] for answer in acknowledged.values() if answer["cost"] is not None]
    stats = json.loads(account.http.get("/api/v1/stats").content, parse_float=Decimal)
    assert stats["total_requests"] == len(acknowledged)
    assert stats["total_cost"] == sum(priced)
    assert stats["summary"]["unpriced_requests"] == len(acknowledged) - len(priced)
    assert stats["summary"]["input_tokens"] == sum(row["input_tokens"] for row in rows)
    assert len(receipts) == len(acknowledged)
    payloads = {receipt["payload"]["log_id"]: receipt["payload"] for receipt in receipts}
    assert payloads.keys() == acknowledged.keys()
    for log_id, payload in payloads.items():
        cost = acknowledged[log_id]["cost"]
        assert (None if payload["cost"] is None else Decimal(payload["cost"])) == cost
    assert sorted(payload["account_sequence"] for payload in payloads.values()) == list(
        range(1, len(receipts) + 1)
    )
    encoder = msgspec.json.Encoder(order="sorted")
    for receipt in receipts:
        signature = decode_base64(receipt["signature"])
        assert verify(keys[receipt["key_id"]], encoder.encode(receipt["payload"]), signature)


def settled_receipts(account: Account, count: int) -> list[dict[str, Any]]:
    """Every receipt of the account, once there are as many as expected and no more are coming."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        receipts: list[dict[str, Any]] = []
        parameters: dict[str, Any] = {"limit": 500}
        while True:
            page = account.http.get("/api/v1/receipts", params=parameters).json()
            receipts += page["receipts"]
            if not page["next"]:
                break
            parameters["cursor"] = page["next"]
        if len(receipts) >= count or time.monotonic() > deadline:
            return receipts
        time.sleep(0.25)
