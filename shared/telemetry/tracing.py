"""One trace for each sampled request, over HTTP and over topics.

Whether a request is traced is decided once, where it enters: its caller's `traceparent` says so, or else a
random number does. The decision travels in the flag of `traceparent`, and everybody behind follows it. What
is not traced, which is nearly everything, never reaches OpenTelemetry's code: it costs one look at that flag.
"""

from collections.abc import Mapping
from enum import Enum
from random import random
from typing import Final, Protocol

from shared.telemetry.traceparent import is_traceparent, says_sampled, unsampled

Attributes = Mapping[str, str | int]


class Kind(Enum):
    """What a span is to those at its ends (OpenTelemetry's span kinds)."""

    SERVER = "SERVER"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class Span(Protocol):
    """A span that is recorded."""

    @property
    def traceparent(self) -> bytes:
        """Names it: whoever gets this header makes spans below it."""
        ...

    def describe(self, name: str, attributes: Attributes) -> None:
        """Say what it is about, once that is known."""
        ...

    def end(self, error: str | None = None) -> None:
        """Hand it over to be exported.

        Args:
            error: the kind of what went wrong, such as an error's class: never its text, which may tell of
                what somebody sent.
        """
        ...


class Recorder(Protocol):
    """Makes spans."""

    @property
    def ratio(self) -> float:
        """The share of new traces, 0 to 1."""
        ...

    def admit_caller(self) -> bool:
        """Whether one more trace that a caller decided on may be recorded now."""
        ...

    def start(self, name: str, kind: Kind, parent: bytes | None, attributes: Attributes | None) -> Span:
        """Start a span below a parent that is well-formed, or a new trace."""
        ...


def start_span(
    name: str, kind: Kind, parent: bytes | None, attributes: Attributes | None = None, *, root: bool = False
) -> Span | None:
    """Start a span if its trace is recorded.

    Args:
        name: of few values; `Span.describe` may give a better one.
        kind: see there.
        parent: a `traceparent`. One that is malformed counts as none.
        attributes: describe it.
        root: this is where requests enter. Without a parent the ratio decides whether a trace begins.

    Returns:
        None where nothing is recorded: then the parent is to be passed on as `passed_on` gives it.
    """
    recorder = _state.recorder
    if recorder is None:
        return None
    if says_sampled(parent) and is_traceparent(parent):
        if root and not recorder.admit_caller():
            return None
        return recorder.start(name, kind, parent, attributes)
    if root and random() < recorder.ratio and not is_traceparent(parent):  # noqa: S311 - a share, not a secret
        return recorder.start(name, kind, None, attributes)
    return None


def is_tracing() -> bool:
    """Whether this process records spans at all."""
    return _state.recorder is not None


def passed_on(parent: bytes) -> bytes:
    """The parent of a request for which `start_span` gave no span, as those behind are to see it.

    A process that records spans has refused this one, so those behind must not record it either. One that
    does not record leaves it as it is.
    """
    return unsampled(parent) if _state.recorder is not None and says_sampled(parent) else parent


def record_spans(recorder: Recorder | None) -> None:
    """Let the spans of this process be made by somebody, or by nobody."""
    _state.recorder = recorder


class _State:
    recorder: Recorder | None = None


_state: Final = _State()
