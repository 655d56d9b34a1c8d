"""The request or record that is being handled right now, for log lines and for calls made on its behalf."""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final

from shared.telemetry.traceparent import is_traceparent, says_sampled

HeaderList = Sequence[tuple[bytes, bytes]]

current_headers: Final[ContextVar[HeaderList]] = ContextVar("current_headers", default=())
"""The headers in hand. Whoever wants to know more reads it from them, which nearly no request needs."""

_CARRIED: Final = (b"traceparent", b"x-request-id")


def carried_headers() -> list[tuple[bytes, bytes]]:
    """What a call to another service takes along: trace and request id of the request in hand."""
    return [header for header in current_headers.get() if header[0] in _CARRIED]


def describe_current() -> dict[str, str]:
    """The `request_id`, and where a span is recorded its `trace_id` and `span_id`."""
    found = dict(carried_headers())
    described = {}
    request_id = found.get(b"x-request-id")
    if request_id is not None:
        described["request_id"] = request_id.decode("latin-1")
    traceparent = found.get(b"traceparent")
    if traceparent is not None and says_sampled(traceparent) and is_traceparent(traceparent):
        _, described["trace_id"], described["span_id"], _ = traceparent.decode().split("-")
    return described
