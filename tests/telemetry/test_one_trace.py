"""One record is one trace, from the gateway to the event of its receipt, in one process and in seven."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shared.contracts.topics import RECEIPTS_ISSUED
from shared.event_log.kafka import Brokers, open_kafka_event_log
from tests.conftest import StartServer
from tests.live.conftest import Account, open_folder
from tests.live.process import ServerProcess
from tests.production.processes import Deployment
from tests.servers.process import find_free_port
from tests.telemetry.prometheus import Metrics
from tests.telemetry.receiver import Receiver, SeenSpan

pytestmark = pytest.mark.slow

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}
SECRET = "s3cret-metadata"
STEPS = [
    ("SERVER", "POST /api/v1/log"),
    ("SERVER", "POST /api/v1/log"),
    ("PRODUCER", "send usage.logged"),
    ("CONSUMER", "process usage.logged"),
    ("CONSUMER", "process usage.rated"),
]


def settings_for(receiver: Receiver) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_TRACES_SAMPLER_ARG": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
    }


def chain_of(receiver: Receiver, account: httpx.Client) -> list[SeenSpan]:
    """Record one call and wait for its whole trace: its spans from the root on, each below the last.

    Questions that were asked on the way (whose key is it? what does it cost?) are spans beside these.
    """
    answer = account.post("/api/v1/log", json={**CALL, "metadata": {"note": SECRET}})
    assert answer.status_code == 200, answer.text
    request_id = answer.headers["x-request-id"]

    def look() -> list[SeenSpan]:
        roots = [s for s in receiver.spans if s.attributes.get("llmring.request_id") == request_id]
        found = receiver.trace(roots[0].span.trace_id.hex()) if roots else []
        steps = [seen for seen in found if (seen.kind, seen.span.name) in STEPS]
        return steps if len(steps) >= len(STEPS) else []

    steps = receiver.wait(look)
    chain: list[SeenSpan] = []
    parent = b""
    while len(chain) < len(steps):
        [child] = [seen for seen in steps if seen.span.parent_span_id == parent]
        chain.append(child)
        parent = child.span.span_id
    return chain


def expect_nothing_private(receiver: Receiver, *secrets: str) -> None:
    told = "".join(str(seen.span) for seen in receiver.spans) + str(receiver.metrics)
    for secret in secrets:
        assert secret not in told


def expect_a_story(chain: list[SeenSpan], processes: list[str]) -> None:
    assert [(seen.kind, seen.span.name) for seen in chain] == STEPS
    assert [seen.process for seen in chain] == processes
    assert [seen.attributes.get("llmring.service") for seen in chain[:2]] == ["gateway", "ingest"]
    assert [seen.attributes["messaging.consumer.group.name"] for seen in chain[3:]] == ["rater", "issuer"]
    assert all(seen.attributes["messaging.batch.message_count"] >= 1 for seen in chain[2:])
    assert all(seen.span.end_time_unix_nano > seen.span.start_time_unix_nano for seen in chain)
    starts = [seen.span.start_time_unix_nano for seen in chain]
    assert starts == sorted(starts)


def test_in_one_process(receiver: Receiver) -> None:
    with open_folder() as folder:
        server = ServerProcess(folder / "data", **settings_for(receiver))
        server.start()
        try:
            operator = httpx.Client(
                base_url=server.url, headers={"X-API-Key": server.operator_key}, timeout=30
            )
            account = Account(server, operator)
            expect_a_story(chain_of(receiver, account.http), ["llmring-serve"] * 5)
            receiver.wait(lambda: receiver.metrics)
        finally:
            assert server.stop() == 0
    expect_nothing_private(receiver, account.key, account.account_id, SECRET)


@pytest.fixture
def deployment(own_server: StartServer, receiver: Receiver, tmp_path: Path) -> Iterator[Deployment]:
    """Separate processes that send all their traces to the receiver."""
    made = Deployment(
        tmp_path,
        postgres=f"postgresql://postgres@{own_server('postgres', durable=False).address}/postgres",
        kafka=own_server("kafka").address,
        redis=f"redis://{own_server('redis').address}/0",
        **settings_for(receiver),
    )
    made.environment["LLMRING_METRICS_PORT"] = made["gateway"].environment["LLMRING_METRICS_PORT"] = str(
        find_free_port()
    )
    made.start()
    yield made
    assert set(made.stop().values()) == {0}


def expect_moved_metrics(deployment: Deployment) -> None:
    """Each process tells its own part of the one record."""
    log = {"method": "POST", "route": "/api/v1/log", "status": "2xx"}
    logged = {"group": "rater", "topic": "usage.logged"}
    for process, name, labels in (
        ("gateway", "llmring_http_request_duration_seconds_count", {**log, "service": "gateway"}),
        ("ingest", "llmring_http_request_duration_seconds_count", {**log, "service": "ingest"}),
        ("ingest", "llmring_records_accepted_total", {}),
        ("rater", "llmring_records_rated_total", {}),
        ("issuer", "llmring_receipts_issued_total", {"kind": "recorded"}),
    ):
        assert Metrics(metrics_url(deployment, process)).total(name, **labels) == 1
    rater = Metrics(metrics_url(deployment, "rater"))
    assert rater.total("llmring_dead_letters_total", topic="usage.logged") == 0
    rater.wait(lambda: rater.series("llmring_consumer_lag_records", **logged) == 12)
    rater.wait(lambda: rater.total("llmring_consumer_lag_records", **logged) == 0)


def metrics_url(deployment: Deployment, process: str) -> str:
    if process == "gateway":
        return f"http://127.0.0.1:{deployment.environment['LLMRING_METRICS_PORT']}/metrics"
    return f"{deployment[process].url}/metrics"


@pytest.mark.kafka
@pytest.mark.redis
async def test_over_processes(deployment: Deployment, receiver: Receiver) -> None:
    key = deployment.run("keys", "create", "--operator")
    http = httpx.Client(base_url=deployment.url, headers={"X-API-Key": key}, timeout=30)
    event_log = await open_kafka_event_log(Brokers(deployment.environment["LLMRING_KAFKA_BOOTSTRAP"]))
    async with event_log.tail(RECEIPTS_ISSUED) as issued:
        chain = await asyncio.to_thread(chain_of, receiver, http)
        announced = await asyncio.wait_for(anext(issued), 10)
    await event_log.close()
    last = chain[-1].span
    assert dict(announced.headers)["traceparent"] == (
        f"00-{last.trace_id.hex()}-{last.span_id.hex()}-01".encode()
    )
    expect_moved_metrics(deployment)
    names = ["gateway", "ingest", "ingest", "rater", "issuer"]
    expect_a_story(chain, [f"llmring-{name}" for name in names])
    receiver.wait(lambda: {r["service.name"] for r in receiver.resources} >= {f"llmring-{n}" for n in names})
    expect_nothing_private(receiver, key, SECRET)
