"""Spans in the form of OpenTelemetry's SDK, which exports them in a thread of its own.

A span is made at its end, and goes straight to the SDK's processor. Its tracer would do the same by way of
samplers, limits and contexts, of which nothing is needed here, and takes six times as long
(docs/adr/0011-telemetry.md).
"""

import time
from random import getrandbits
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shared.telemetry.metrics import SPANS
from shared.telemetry.tracing import Attributes, Kind

CALLERS_TRACES_PER_S: Final = 100
"""How many traces a second, for each process, callers get by a flag of theirs: it is they who choose, and
they may choose it for everything."""

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_KINDS: Final = {kind: SpanKind[kind.value] for kind in Kind}
_SCOPE: Final = InstrumentationScope("llmring")
_UNSET: Final = Status(StatusCode.UNSET)
_ERROR: Final = Status(StatusCode.ERROR)
_ended: Final = SPANS.labels("ended")


class SdkRecorder:
    """Makes spans.

    Args:
        resource: the process that they are from.
        processor: gets each span at its end.
        ratio: the share of new traces, 0 to 1.
    """

    def __init__(self, resource: Resource, processor: SpanProcessor, ratio: float) -> None:
        self.ratio = ratio
        self._resource = resource
        self._processor = processor
        self._allowance = _Allowance(CALLERS_TRACES_PER_S)

    def admit_caller(self) -> bool:
        """See `Recorder.admit_caller`."""
        return self._allowance.take()

    def start(self, name: str, kind: Kind, parent: bytes | None, attributes: Attributes | None) -> "SdkSpan":
        """See `Recorder.start`."""
        span = SdkSpan(self._resource, self._processor, kind, parent)
        span.describe(name, attributes or {})
        return span

    def shutdown(self) -> None:
        """Export what has ended, for as long as that takes."""
        self._processor.shutdown()


class SdkSpan:
    """See `Span`."""

    __slots__ = (
        "_attributes",
        "_context",
        "_kind",
        "_name",
        "_parent",
        "_processor",
        "_resource",
        "_started_ns",
        "traceparent",
    )

    def __init__(
        self,
        resource: Resource,
        processor: SpanProcessor,
        kind: Kind,
        parent: bytes | None,
    ) -> None:
        self._resource = resource
        self._processor = processor
        self._name = ""
        self._kind = kind
        self._attributes: Attributes = {}
        self._parent: SpanContext | None = None
        if parent is None:
            trace_id = _random_id(128)
        else:
            _, trace, span, _ = parent.split(b"-")
            trace_id = int(trace, 16)
            self._parent = SpanContext(trace_id, int(span, 16), is_remote=True, trace_flags=_SAMPLED)
        span_id = _random_id(64)
        self._context = SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED)
        self.traceparent = b"00-%032x-%016x-01" % (trace_id, span_id)
        self._started_ns = time.time_ns()

    def describe(self, name: str, attributes: Attributes) -> None:
        """See `Span.describe`."""
        self._name = name
        self._attributes = attributes

    def end(self, error: str | None = None) -> None:
        """See `Span.end`."""
        self._processor.on_end(
            ReadableSpan(
                self._name,
                self._context,
                self._parent,
                self._resource,
                self._attributes if error is None else {**self._attributes, "error.type": error},
                kind=_KINDS[self._kind],
                status=_UNSET if error is None else _ERROR,
                start_time=self._started_ns,
                end_time=time.time_ns(),
                instrumentation_scope=_SCOPE,
            )
        )
        _ended.inc()


def _random_id(bits: int) -> int:
    """An id that is not zero: zero is none."""
    return getrandbits(bits) or _random_id(bits)


class _Allowance:
    """So many a second, and as many at once."""

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._left = float(per_s)
        self._at = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._left = min(float(self._per_s), self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
