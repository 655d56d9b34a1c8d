"""How traces and metrics leave this process: `/metrics` is read from it, and OTLP is sent to a collector."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from shared.settings import SettingsError, read_settings
from shared.telemetry.metrics import REGISTRY
from shared.telemetry.settings import TelemetrySettings
from shared.telemetry.tracing import record_spans

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

FLUSH_S: Final = 3.0
"""How long the end of a process waits for a collector."""


def render_metrics() -> tuple[bytes, str]:
    """The metrics of this process as Prometheus reads them: text and content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_PLAIN_0_0_4


@contextmanager
def export_telemetry(process: str, version: str) -> Iterator[None]:
    """Export traces and metrics while the block runs, as the standard variables `OTEL_*` say.

    Without an endpoint nothing is exported, nothing is traced, and OpenTelemetry is not even imported.
    Whatever goes wrong with the collector is counted, reported once, and disturbs nobody.

    Args:
        process: its short name, such as `gateway`; `llmring-gateway` is the service's name in traces.
        version: of this program.

    Raises:
        SettingsError: variables are wrong; all of them are named.
    """
    settings = read_settings(TelemetrySettings, os.environ, "OTEL_")
    if not (settings.exports_traces or settings.exports_metrics):
        yield
        return
    resource = _describe_process(settings.service_name or f"llmring-{process}", version)
    endings: list[Callable[[], None]] = []
    try:
        if settings.exports_traces:
            endings.append(_export_traces(settings, resource))
        if settings.exports_metrics:
            endings.append(_export_metrics(settings, resource))
    except ValueError as error:  # of a variable that the exporters read by themselves
        raise SettingsError(f"OTEL_*: {error}") from error
    # From here on `Outage` says what is to be said; until here they may complain of their settings.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        record_spans(None)
        _end_within(endings, FLUSH_S)


def _export_traces(settings: TelemetrySettings, resource: "Resource") -> Callable[[], None]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from shared.telemetry.recorder import SdkRecorder
    from shared.telemetry.watched import WatchedExporter

    processor = BatchSpanProcessor(WatchedExporter(OTLPSpanExporter()))
    recorder = SdkRecorder(resource, processor, settings.traces_sampler_arg)
    record_spans(recorder)
    return recorder.shutdown


def _export_metrics(settings: TelemetrySettings, resource: "Resource") -> Callable[[], None]:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    from shared.telemetry.push import MetricsPush

    return MetricsPush(OTLPMetricExporter(), resource, settings.metric_export_interval / 1000).shutdown


def _describe_process(name: str, version: str) -> "Resource":
    """Who sends; `OTEL_RESOURCE_ATTRIBUTES` adds to it and goes before it."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    own = {
        "service.name": name,
        "service.version": version,
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    return Resource.create().merge(Resource(own)).merge(OTELResourceDetector().detect())


def _end_within(endings: Sequence[Callable[[], None]], seconds: float) -> None:
    """Let all of them end at once; one that has not ended in time is left to the end of the process."""
    deadline = time.monotonic() + seconds
    threads = [threading.Thread(target=ending, name="telemetry-end", daemon=True) for ending in endings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
