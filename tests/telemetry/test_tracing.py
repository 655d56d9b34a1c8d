"""Which requests are traced, and what a span says to those behind it."""

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from shared.telemetry.recorder import CALLERS_TRACES_PER_S
from shared.telemetry.traceparent import is_traceparent, says_sampled
from shared.telemetry.tracing import Kind, is_tracing, passed_on, start_span
from tests.telemetry.conftest import Trace

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-01".encode()
UNSAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-00".encode()

MALFORMED = [
    b"",
    b"01",
    SAMPLED + b"-00",
    SAMPLED.upper(),
    SAMPLED.replace(b"-", b"_"),
    b"ff" + SAMPLED[2:],
    b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
    b"00-" + TRACE_ID.encode() + b"-" + b"0" * 16 + b"-01",
    b"00-" + TRACE_ID.encode() + b"-00f067aa0ba902bg-01",
    "00-4bf92f3577b34da6a3ce929d0e0e47é6-00f067aa0ba902b7-01".encode("latin-1"),
]


def test_without_a_collector_nothing_is_traced_and_flags_are_passed_on() -> None:
    assert not is_tracing()
    assert start_span("GET", Kind.SERVER, SAMPLED, root=True) is None
    assert start_span("GET", Kind.SERVER, None, root=True) is None
    assert passed_on(SAMPLED) == SAMPLED


def test_the_callers_decision_holds(trace: Trace) -> None:
    ended = trace(0.0)
    span = start_span("GET", Kind.SERVER, SAMPLED, {"a": 1}, root=True)
    assert span is not None
    span.end()
    [seen] = ended()
    assert seen.parent is not None
    assert f"{seen.context.trace_id:032x}" == TRACE_ID
    assert f"{seen.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert span.traceparent == f"00-{TRACE_ID}-{seen.context.span_id:016x}-01".encode()
    assert (seen.kind, dict(seen.attributes or {})) == (SpanKind.SERVER, {"a": 1})

    trace(1.0)
    assert start_span("GET", Kind.SERVER, UNSAMPLED, root=True) is None
    assert passed_on(UNSAMPLED) == UNSAMPLED


@pytest.mark.parametrize("flags", ["01", "03", "ff"])
def test_only_the_sampled_bit_of_the_flags_counts(trace: Trace, flags: str) -> None:
    trace(0.0)
    span = start_span("GET", Kind.SERVER, SAMPLED[:-2] + flags.encode(), root=True)
    assert span is not None
    assert span.traceparent.endswith(b"-01")
    assert start_span("GET", Kind.SERVER, SAMPLED[:-2] + b"02", root=True) is None


def test_without_a_decision_the_ratio_decides_and_only_where_requests_enter(trace: Trace) -> None:
    trace(1.0)
    assert start_span("GET", Kind.SERVER, None) is None
    span = start_span("GET", Kind.SERVER, None, root=True)
    assert span is not None
    assert is_traceparent(span.traceparent)
    trace(0.0)
    assert start_span("GET", Kind.SERVER, None, root=True) is None
    trace(0.25)
    drawn = [start_span("GET", Kind.SERVER, None, root=True) for _ in range(2000)]
    assert 400 < sum(span is not None for span in drawn) < 600


@pytest.mark.parametrize("parent", MALFORMED)
def test_a_malformed_parent_counts_as_none(trace: Trace, parent: bytes) -> None:
    ended = trace(1.0)
    assert start_span("GET", Kind.CONSUMER, parent) is None
    span = start_span("GET", Kind.SERVER, parent, root=True)
    assert span is not None
    span.end()
    assert ended()[0].parent is None


def test_callers_cannot_have_every_request_of_theirs_traced(trace: Trace) -> None:
    trace(0.0)
    asked = [start_span("GET", Kind.SERVER, SAMPLED, root=True) for _ in range(10 * CALLERS_TRACES_PER_S)]
    assert CALLERS_TRACES_PER_S <= sum(span is not None for span in asked) < 3 * CALLERS_TRACES_PER_S
    refused = passed_on(SAMPLED)
    assert refused == UNSAMPLED
    assert not says_sampled(refused)
    # What the gateway has let in is followed by everybody behind it.
    assert start_span("GET", Kind.SERVER, SAMPLED) is not None


def test_an_error_is_told_by_its_kind_alone(trace: Trace) -> None:
    ended = trace(1.0)
    span = start_span("GET", Kind.SERVER, None, root=True)
    assert span is not None
    span.describe("GET /x", {"http.route": "/x"})
    span.end("UnavailableError")
    [seen] = ended()
    assert (seen.name, seen.status.status_code, seen.status.description) == ("GET /x", StatusCode.ERROR, None)
    assert dict(seen.attributes or {}) == {"http.route": "/x", "error.type": "UnavailableError"}
    assert not seen.events
