"""The figures at `/metrics` move as they should, on a real server."""

from collections.abc import AsyncIterator

import httpx
import pytest

from shared.contracts.topics import USAGE_LOGGED
from shared.event_log.port import Record
from shared.event_log.postgres import open_postgres_event_log
from tests.live.conftest import Account, open_folder
from tests.live.process import ServerProcess
from tests.servers.process import find_free_port
from tests.telemetry.prometheus import Metrics

pytestmark = pytest.mark.slow

CALL = {"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "output_tokens": 100}
UNKNOWN = {**CALL, "model": "no-such-model"}
LAG = "llmring_consumer_lag_records"


@pytest.fixture
async def server(postgres_url: str) -> AsyncIterator[ServerProcess]:
    """All in one process, whose metrics are at a port of their own."""
    with open_folder() as folder:
        process = ServerProcess(
            folder / "data", LLMRING_DATABASE_URL=postgres_url, LLMRING_METRICS_PORT=str(find_free_port())
        )
        process.start()
        yield process
        assert process.stop() == 0


async def test_each_figure_moves_with_what_it_counts(server: ServerProcess, postgres_url: str) -> None:
    metrics = Metrics(f"http://127.0.0.1:{server.environment['LLMRING_METRICS_PORT']}/metrics")
    operator = httpx.Client(base_url=server.url, headers={"X-API-Key": server.operator_key}, timeout=30)
    account = Account(server, operator)
    for number in range(3):
        account.log(**CALL, idempotency_key=f"k{number}")
    account.log(**CALL, idempotency_key="k0")
    account.log(**UNKNOWN)
    batch = {"logs": [CALL, UNKNOWN, {"model": ""}, {**CALL, "idempotency_key": "k1"}]}
    account.http.post("/api/v1/log/batch", json=batch).raise_for_status()
    assert account.http.post("/api/v1/log", json={}).status_code == 422
    event_log = await open_postgres_event_log(postgres_url)
    for value in (b"not JSON", b"{}"):
        await event_log.append(USAGE_LOGGED, [Record(b"foreign", value)])
    await event_log.close()
    assert account.stats()["total_requests"] == 6
    account.http.post("/api/v1/receipts", json=CALL).raise_for_status()

    def counted(name: str, **labels: str) -> float:
        return metrics.total(f"llmring_{name}", **labels)

    metrics.wait(lambda: counted("receipts_issued_total", kind="recorded") == 6)
    metrics.wait(lambda: counted("dead_letters_total", topic="usage.logged") == 2)
    assert counted("receipts_issued_total", kind="declared") == 1
    assert counted("records_accepted_total") == 6
    assert counted("idempotent_replays_total") == 2
    assert counted("records_rated_total") == 6
    assert counted("records_unpriced_total") == 2
    assert counted("records_unpriced_total", status="model_not_in_registry") == 2
    assert counted("rate_limit_degraded") == 0
    requests = "http_request_duration_seconds_count"
    for service in ("gateway", "ingest"):
        log = {"service": service, "method": "POST", "route": "/api/v1/log"}
        assert counted(requests, **log, status="2xx") == 5
        assert counted(requests, **log, status="4xx") == 1
    assert counted("event_log_append_records_sum") >= 6 + 6 + 2 + 2
    assert counted("event_log_append_duration_seconds_count") > 0
    assert counted("consumer_slice_records_sum", group="rater") >= 6 + 2  # repeats may be appended again
    assert counted("consumer_slice_records_sum", group="issuer") == 6
    assert counted("consumer_apply_duration_seconds_count", group="issuer") > 0
    assert counted("outbox_oldest_age_seconds", topic="keys.changed") == 0
    assert counted("telemetry_spans_total") == 0
    metrics.wait(lambda: metrics.series(LAG, group="rater", topic="usage.logged") == 12)
    metrics.wait(lambda: metrics.total(LAG) == 0)
