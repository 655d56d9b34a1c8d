"""What a running deployment writes, in Postgres and in Kafka, is what `docs/asyncapi.yaml` says."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import jsonschema_rs
import pytest
import yaml

from shared.contracts.topics import BUDGETS_CROSSED, TOPICS, USAGE_DEAD, USAGE_LOGGED, USAGE_RATED
from shared.event_log import EventLog, Record, StoredRecord
from shared.event_log.kafka import Brokers, open_kafka_event_log
from shared.event_log.postgres import open_postgres_event_log
from shared.event_log.replay import open_dead_letters, replay
from tests.event_log.reading import read_all
from tests.events.asyncapi import PATH
from tests.events.schemas import fields_of, validator_of
from tests.live.conftest import Account
from tests.live.process import ServerProcess
from tests.servers.server import Server

PATIENCE_S: Final = 60
DOCUMENT: dict[str, Any] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
MESSAGES = {channel["address"]: next(iter(channel["messages"])) for channel in DOCUMENT["channels"].values()}
CALL: Final = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1200, "output_tokens": 350}
CALLS: Final[list[dict[str, Any]]] = [
    CALL,
    CALL | {"cached_input_tokens": 200, "reasoning_tokens": 50, "latency_ms": 0, "idempotency_key": "k1"},
    CALL | {"cost": 0.0000000375, "alias": "fast", "profile": "default", "origin": "résumé 😀"},
    CALL | {"metadata": {"deep": [{"er": None}]}, "id_at_origin": "42", "timestamp": "2020-02-29T12:00:00Z"},
    CALL | {"model": "no-such-model"},
    CALL | {"service_tier": "flex"},
]
POISON: Final = b"\xff\xfe"
STRANGE: Final = "other"


class Deployment:
    """A server, and how to open its event log once more."""

    def __init__(self, process: ServerProcess, kafka: Server | None) -> None:
        self.process = process
        self.kafka = kafka

    @asynccontextmanager
    async def open_log(self) -> AsyncIterator[EventLog]:
        log: EventLog
        if self.kafka is not None:
            log = await open_kafka_event_log(Brokers(self.kafka.address))
        else:
            socket = (self.process.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[4]
            log = await open_postgres_event_log(f"postgresql://postgres@/llmring?host={socket}")
        try:
            yield log
        finally:
            await log.close()


@pytest.fixture
def embedded(data_dir: Path) -> Iterator[Deployment]:
    """A server that needs nothing."""
    process = ServerProcess(data_dir)
    process.start()
    yield Deployment(process, None)
    assert process.stop() == 0


@pytest.fixture(params=["postgres", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.slow])])
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """A server with its event log in Postgres or in Kafka."""
    if request.param == "postgres":
        found: Deployment = request.getfixturevalue("embedded")
        return found
    return Deployment(request.getfixturevalue("on_kafka"), request.getfixturevalue("kafka"))


def use_everything(process: ServerProcess) -> str:
    """Make a deployment write an event of every kind but the dead ones; the account's id."""
    operator = httpx.Client(base_url=process.url, headers={"X-API-Key": process.operator_key}, timeout=30)
    account = Account(process, operator)
    budget = {"name": "all", "scope": "account", "amount": 0.00000001, "thresholds": [1]}
    account.http.put("/api/v1/budgets", json={"budgets": [budget]}).raise_for_status()
    for call in CALLS:
        account.log(**call)
    account.http.post("/api/v1/log/batch", json={"logs": CALLS}).raise_for_status()
    account.http.post("/api/v1/receipts", json=CALL).raise_for_status()
    model = {
        "provider": "openai",
        "model_name": f"m-{uuid.uuid4().hex[:8]}",
        "dollars_per_million_tokens_input": 1.5,
    }
    operator.post("/registry/versions", json={"models": [model], "mode": "merge"}).raise_for_status()
    suspended = {"suspended": True}
    operator.patch(f"/api/v1/admin/accounts/{account.account_id}", json=suspended).raise_for_status()
    return account.account_id


async def collect(log: EventLog, expected: dict[str, int]) -> dict[str, list[StoredRecord]]:
    """All records of all topics, once there are so many of some."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        ends = {topic: sum((await log.ends(topic)).values()) for topic in expected}
        if all(ends[topic] >= count for topic, count in expected.items()):
            return {topic: await read_all(log, topic) for topic in TOPICS}
        assert time.monotonic() < deadline, ends
        await asyncio.sleep(0.1)


async def test_every_record_has_the_shape_that_is_documented(deployment: Deployment) -> None:
    account_id = await asyncio.to_thread(use_everything, deployment.process)
    records = len(CALLS) * 2 - 1  # one of the batch has the idempotency key of a record before it
    async with deployment.open_log() as log:
        dead = Record(account_id.encode(), POISON, ((STRANGE, b"header"),))
        await log.append(USAGE_LOGGED, [dead])
        await log.append(USAGE_RATED, [dead])
        await collect(log, {USAGE_DEAD: 2})
        async with open_dead_letters(log) as letters:
            for letter in [each async for each in letters]:
                await replay(log, letter)
        found = await collect(
            log,
            {USAGE_LOGGED: records + 2, USAGE_RATED: records + 2, "receipts.issued": records + 1}
            | {USAGE_DEAD: 6, "registry.published": 1, "keys.changed": 2, BUDGETS_CROSSED: 1},
        )
    for topic, records_of in found.items():
        for record in records_of:
            check_headers(topic, record)
            if topic != USAGE_DEAD and record.value != POISON:
                check_key(topic, record)
                check_value(topic, record)
    letters_and_notes = [record.value for record in found[USAGE_DEAD]]
    assert (letters_and_notes.count(POISON), letters_and_notes.count(b"")) == (4, 2)
    traced = [each for each in found[USAGE_RATED] if each.value != POISON]
    assert all(dict(each.headers)["traceparent"] for each in traced)


def check_value(topic: str, record: StoredRecord) -> None:
    """It is valid, has every field, and none that is not documented."""
    value = json.loads(record.value or b"")
    message = MESSAGES[topic]
    validator_of(DOCUMENT, message).validate(value)
    assert value.keys() == fields_of(DOCUMENT, message)


def check_headers(topic: str, record: StoredRecord) -> None:
    """They are valid, and none is undocumented but the one that this test has made up."""
    headers = {name: value.decode() for name, value in record.headers}
    name = f"{MESSAGES[topic]}Headers"
    validator_of(DOCUMENT, name).validate(headers)
    assert headers.keys() - {STRANGE} <= fields_of(DOCUMENT, name)


def check_key(topic: str, record: StoredRecord) -> None:
    """It is what the document says a key is."""
    bindings = DOCUMENT["components"]["messages"][MESSAGES[topic]]["bindings"]
    schema = bindings["kafka"]["key"]
    if schema.get("format") == "binary":
        assert len(record.key) == 16
    else:
        validator = jsonschema_rs.Draft7Validator(schema, validate_formats=True)
        validator.validate(record.key.decode())
