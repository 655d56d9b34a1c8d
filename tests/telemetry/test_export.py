"""Traces and metrics leave the process, and nothing that goes wrong with that is felt."""

import logging
import os
import statistics
import threading
import time
from collections.abc import Callable

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from shared.settings import SettingsError
from shared.telemetry.export import FLUSH_S, export_telemetry
from shared.telemetry.metrics import RECORDS_ACCEPTED
from shared.telemetry.tracing import Kind, is_tracing, start_span
from tests.servers.process import find_free_port
from tests.telemetry.receiver import Receiver, values_of

Grown = Callable[..., float]
OUTCOMES = "llmring_telemetry_spans_total"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables of whoever runs the tests do not count."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def one_span() -> str:
    span = start_span("GET", Kind.SERVER, None, root=True)
    assert span is not None
    span.end()
    return span.traceparent.decode().split("-")[1]


def send_all_to(url: str, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    settings.setenv("OTEL_TRACES_SAMPLER_ARG", "1")


def test_without_an_endpoint_nothing_is_traced() -> None:
    with export_telemetry("test", "1.0"):
        assert not is_tracing()


def test_the_end_of_the_process_sends_what_is_there(
    receiver: Receiver, no_settings: pytest.MonkeyPatch, grown: Grown
) -> None:
    send_all_to(receiver.url, no_settings)
    with export_telemetry("test", "1.0"):
        trace_id = one_span()
        RECORDS_ACCEPTED.inc(7)
    assert not is_tracing()
    [seen] = receiver.trace(trace_id)
    assert (seen.process, seen.kind) == ("llmring-test", "SERVER")
    assert grown(OUTCOMES, outcome="ended") == grown(OUTCOMES, outcome="exported") == 1
    accepted = receiver.metrics["llmring_records_accepted"].sum
    assert accepted.is_monotonic
    assert accepted.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert accepted.data_points[0].as_double >= 7
    assert receiver.metrics["process_resident_memory_bytes"].gauge.data_points[0].as_double > 1e6
    for resource in receiver.resources:
        assert resource["service.version"] == "1.0"
        assert resource["service.instance.id"]


def test_metrics_are_pushed_again_and_again(receiver: Receiver, no_settings: pytest.MonkeyPatch) -> None:
    no_settings.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{receiver.url}/v1/metrics")
    no_settings.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    no_settings.setenv("OTEL_SERVICE_NAME", "mine")
    no_settings.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
    with export_telemetry("test", "1.0"):
        assert not is_tracing()  # there is an endpoint for metrics alone
        receiver.wait(lambda: len(receiver.resources) >= 3)
    assert receiver.resources[0]["service.name"] == "mine"
    assert receiver.resources[0]["deployment.environment.name"] == "staging"
    buckets = receiver.metrics["llmring_event_log_append_duration_seconds"].histogram.data_points
    assert all(len(point.bucket_counts) == len(point.explicit_bounds) + 1 for point in buckets)
    assert not any(point.HasField("min") for point in buckets)
    assert values_of(receiver.metrics["llmring_telemetry_metric_pushes"].sum.data_points[0].attributes) == {
        "outcome": "exported"
    }


@pytest.mark.parametrize("how", ["away", "refusing", "hanging"])
def test_a_collector_that_takes_nothing_delays_the_end_by_a_bound_and_no_request(
    receiver: Receiver, no_settings: pytest.MonkeyPatch, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    receiver.refuses, receiver.hangs = how == "refusing", how == "hanging"
    send_all_to(f"http://127.0.0.1:{find_free_port()}" if how == "away" else receiver.url, no_settings)
    no_settings.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    no_settings.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    no_settings.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "512")
    no_settings.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "6")  # more than the bound
    with export_telemetry("test", "1.0"):
        took = []
        for _ in range(1_000):  # more than the queue takes
            started = time.perf_counter()
            one_span()
            took.append(time.perf_counter() - started)
        time.sleep(0.3)
        ending = time.monotonic()
    assert time.monotonic() - ending < FLUSH_S + 2.5
    # A span that waited for the collector would wait for its 6 s; a busy machine alone takes half a second
    # from somebody now and then.
    assert max(took) < 3
    assert statistics.quantiles(took, n=20)[-1] < 0.05
    receiver.released.set()
    for thread in threading.enumerate():
        if thread.name in ("telemetry-end", "metrics-push"):
            thread.join(10)  # it would disturb the next test, not the end of a process
    ours = [record for record in caplog.records if record.name.startswith("shared.telemetry")]
    assert len(ours) <= 2  # once for traces, once for metrics
    assert {record.levelname for record in caplog.records} <= {"WARNING"}


def test_an_outage_of_the_collector_is_said_once_and_its_end_too(
    receiver: Receiver, no_settings: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shared.telemetry")
    send_all_to(receiver.url, no_settings)
    no_settings.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    no_settings.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    receiver.refuses = True
    with export_telemetry("test", "1.0"):
        receiver.wait(lambda: caplog.messages)
        time.sleep(0.5)
        receiver.refuses = False
        receiver.wait(lambda: receiver.metrics)
    assert caplog.messages == [
        "metrics cannot be exported at the moment; nothing else depends on it",
        "metrics are exported again",
    ]


def test_wrong_settings_are_named_all_at_once(no_settings: pytest.MonkeyPatch) -> None:
    no_settings.setenv("OTEL_TRACES_SAMPLER_ARG", "2")
    no_settings.setenv("OTEL_METRIC_EXPORT_INTERVAL", "often")
    no_settings.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(SettingsError) as told, export_telemetry("test", "1.0"):
        pass
    for name in ("TRACES_SAMPLER_ARG", "METRIC_EXPORT_INTERVAL", "EXPORTER_OTLP_PROTOCOL"):
        assert f"OTEL_{name}" in str(told.value)


def test_a_setting_that_the_exporter_refuses_is_a_setting_that_is_wrong(
    receiver: Receiver, no_settings: pytest.MonkeyPatch
) -> None:
    send_all_to(receiver.url, no_settings)
    no_settings.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(SettingsError, match="max_queue_size"), export_telemetry("test", "1.0"):
        pass
    assert not is_tracing()


def test_it_can_be_switched_off(receiver: Receiver, no_settings: pytest.MonkeyPatch) -> None:
    send_all_to(receiver.url, no_settings)
    no_settings.setenv("OTEL_SDK_DISABLED", "true")
    with export_telemetry("test", "1.0"):
        assert not is_tracing()
    assert not receiver.resources
