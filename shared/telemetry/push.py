"""The metrics of this process, pushed to a collector by OTLP: the same ones that `/metrics` shows."""

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Final

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Metric as Family
from prometheus_client.samples import Sample

from shared.telemetry.metrics import METRIC_PUSHES, REGISTRY
from shared.telemetry.watched import Outage

_SCOPE: Final = InstrumentationScope("llmring")
_UNITS: Final = {"_seconds": "s", "_bytes": "By", "_records": "{record}"}
_INFINITE: Final = "+Inf"


class MetricsPush:
    """Pushes again and again, in a thread of its own, and once more at the end.

    Args:
        exporter: sends the metrics.
        resource: the process that they are from.
        every_s: seconds between two pushes.
    """

    def __init__(self, exporter: MetricExporter, resource: Resource, every_s: float) -> None:
        self._exporter = exporter
        self._resource = resource
        self._every_s = every_s
        self._started_ns = time.time_ns()
        self._outage = Outage("metrics")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics-push", daemon=True)
        self._thread.start()

    def shutdown(self) -> None:
        """Push what is there, for as long as that takes, and then no more."""
        self._stop.set()
        self._thread.join()
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._push()
        self._push()

    def _push(self) -> None:
        sent = self._outage.succeeds(self._export)
        METRIC_PUSHES.labels("exported" if sent else "failed").inc()

    def _export(self) -> bool:
        metrics = translate(REGISTRY.collect(), self._started_ns, time.time_ns())
        scope = ScopeMetrics(_SCOPE, metrics, schema_url="")
        data = MetricsData([ResourceMetrics(self._resource, [scope], schema_url="")])
        return self._exporter.export(data) is MetricExportResult.SUCCESS


def translate(families: Iterable[Family], started_ns: int, now_ns: int) -> list[Metric]:
    """Prometheus' families as OpenTelemetry's metrics.

    Args:
        families: as a registry collects them.
        started_ns: since when counters count, in nanoseconds since the epoch.
        now_ns: when they were read.
    """
    metrics = []
    for family in families:
        unit = next((unit for suffix, unit in _UNITS.items() if family.name.endswith(suffix)), "")
        data: Sum | Gauge | Histogram
        if family.type == "histogram":
            data = Histogram(
                _histogram_points(family.samples, started_ns, now_ns), AggregationTemporality.CUMULATIVE
            )
        elif family.type == "counter":
            points = _points(family.samples, started_ns, now_ns)
            data = Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)
        else:
            data = Gauge(_points(family.samples, started_ns, now_ns))
        metrics.append(Metric(family.name, family.documentation, unit, data))
    return metrics


def _points(samples: Sequence[Sample], started_ns: int, now_ns: int) -> list[NumberDataPoint]:
    return [NumberDataPoint(sample.labels, started_ns, now_ns, sample.value) for sample in samples]


def _histogram_points(samples: Sequence[Sample], started_ns: int, now_ns: int) -> list[HistogramDataPoint]:
    """One point for each set of labels. Prometheus' buckets hold what is in the smaller ones too."""
    series: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for sample in samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        kind = sample.name.rpartition("_")[2]
        series.setdefault(labels, {})[sample.labels.get("le", kind)] = sample.value
    points = []
    for labels, values in series.items():
        total, count = values.pop("sum"), values.pop("count")
        cumulative = [int(value) for value in values.values()]
        points.append(
            HistogramDataPoint(
                dict(labels),
                started_ns,
                now_ns,
                count=int(count),
                sum=total,
                bucket_counts=[
                    upper - lower for lower, upper in zip([0, *cumulative], cumulative, strict=False)
                ],
                explicit_bounds=[float(bound) for bound in values if bound != _INFINITE],
                min=None,  # type: ignore[arg-type]  # Prometheus does not know it; optional on the wire
                max=None,  # type: ignore[arg-type]  # as above
            )
        )
    return points
