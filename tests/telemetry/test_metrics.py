"""Every metric says what it is, and the pages list it."""

import re

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from shared.telemetry.export import render_metrics
from shared.telemetry.metrics import REGISTRY
from shared.telemetry.push import translate
from shared.telemetry.requests import RequestMeter
from shared.telemetry.settings import TelemetrySettings
from tests.docs.pages import get_page, list_rows

OPERATIONS = get_page("docs/operations.md")
RequestMeter("test")  # its module has a metric of its own
OURS = [family for family in REGISTRY.collect() if family.name.startswith("llmring_")]
STATES = (
    "llmring_rate_limit_degraded",
    "llmring_receipts_log_damaged",
    "llmring_tls_renewal_failed",
    "llmring_upstream_away",
)
"""Gauges that are 0 or 1, and so have no unit."""


def exposed_name(family: Family) -> str:
    return family.name + ("_total" if family.type == "counter" else "")


@pytest.mark.parametrize("family", OURS, ids=lambda family: str(family.name))
def test_a_metric_tells_its_meaning_and_its_unit(family: Family) -> None:
    assert len(family.documentation) > 30
    assert family.documentation.endswith(".")
    if family.type != "counter" and family.name not in STATES:
        assert re.search(r"_(seconds|records|bytes|connections)$", family.name)
        assert re.search(r"seconds|[Rr]ecords|bytes|[Cc]onnections", family.documentation)


def test_operations_lists_each_metric_and_no_other() -> None:
    rows = list_rows(OPERATIONS.prose, "metric")
    assert sorted(row[0].strip("`") for row in rows) == sorted(exposed_name(family) for family in OURS)


def test_operations_lists_the_variables_that_are_read_with_their_defaults() -> None:
    fields = {f"OTEL_{field.name.upper()}": field for field in msgspec.structs.fields(TelemetrySettings)}
    for name, default, _ in list_rows(OPERATIONS.prose, "standard variable"):
        assert default.strip("`") == _shown(fields[name.strip("`")].default)


def test_operations_queries_only_metrics_that_there_are() -> None:
    named = set(re.findall(r"\bllmring_\w+", OPERATIONS.path.read_text(encoding="utf-8")))
    samples = {family.name + suffix for family in OURS for suffix in ("", "_total", "_count")}
    assert named <= samples


def test_metrics_are_text_that_prometheus_reads() -> None:
    text, media_type = render_metrics()
    assert media_type.startswith("text/plain; version=0.0.4")
    families = {family.name for family in text_string_to_metric_families(text.decode())}
    assert {family.name for family in OURS} <= families
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "python_gc_collections"} <= families
    assert "_created" not in text.decode()


def test_what_is_pushed_is_what_is_shown() -> None:
    registry = CollectorRegistry()
    counted = Counter("llmring_things_total", "Things.", ["kind"], registry=registry)
    counted.labels("a").inc(3)
    counted.labels("b").inc(4)
    Gauge("llmring_age_seconds", "Age.", registry=registry).set(1.5)
    histogram = Histogram("llmring_size_records", "Size.", ["who"], buckets=(1, 10), registry=registry)
    for size in (0, 1, 5, 50, 60):
        histogram.labels("x").observe(size)
    histogram.labels("y").observe(2)
    things, age, size_of = translate(registry.collect(), 1_000, 2_000)

    assert (things.name, things.unit, things.description) == ("llmring_things", "", "Things.")
    assert things.data.is_monotonic  # type: ignore[union-attr]
    assert [(point.attributes, point.value) for point in things.data.data_points] == [  # type: ignore[union-attr]
        ({"kind": "a"}, 3),
        ({"kind": "b"}, 4),
    ]
    assert {(p.start_time_unix_nano, p.time_unix_nano) for p in things.data.data_points} == {(1_000, 2_000)}
    assert (age.unit, age.data.data_points[0].value) == ("s", 1.5)  # type: ignore[union-attr]
    first, second = size_of.data.data_points
    assert (size_of.unit, first.attributes) == ("{record}", {"who": "x"})
    assert (first.count, first.sum) == (5, 116)  # type: ignore[union-attr]
    assert (first.explicit_bounds, first.bucket_counts) == ([1, 10], [2, 1, 2])  # type: ignore[union-attr]
    assert (second.attributes, second.bucket_counts) == ({"who": "y"}, [0, 1, 0])  # type: ignore[union-attr]


def _shown(default: object) -> str:
    return "" if default is None else str(default)
