"""Spans and metrics of this process, and a collector."""

from collections.abc import Callable, Iterator, Mapping

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared.telemetry.metrics import REGISTRY
from shared.telemetry.recorder import SdkRecorder
from shared.telemetry.tracing import record_spans
from tests.telemetry.receiver import Receiver, open_receiver

Trace = Callable[[float], Callable[[], list[ReadableSpan]]]


@pytest.fixture
def trace() -> Iterator[Trace]:
    """`trace(ratio)` records the spans of this process; what it gives tells those that have ended."""

    def start(ratio: float) -> Callable[[], list[ReadableSpan]]:
        exporter = InMemorySpanExporter()
        record_spans(SdkRecorder(Resource({}), SimpleSpanProcessor(exporter), ratio))
        return lambda: list(exporter.get_finished_spans())

    yield start
    record_spans(None)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector of the test's own."""
    with open_receiver() as opened:
        yield opened


@pytest.fixture
def grown() -> Callable[..., float]:
    """`grown(name, **labels)`: by how much a metric has grown since the test began."""
    before: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in REGISTRY.collect():
        for sample in family.samples:
            before[sample.name, tuple(sorted(sample.labels.items()))] = sample.value

    def tell(name: str, **labels: str) -> float:
        now = REGISTRY.get_sample_value(name, labels) or 0.0
        return now - before.get((name, tuple(sorted(labels.items()))), 0.0)

    return tell


def parts_of(span: ReadableSpan) -> Mapping[str, object]:
    """A span's attributes."""
    return dict(span.attributes or {})
