"""Measures every request of a service, and puts its span into the trace of the request it came with."""

from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, Final

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from shared.telemetry.current import current_headers
from shared.telemetry.requests import UNMATCHED, RequestMeter
from shared.telemetry.tracing import Kind, Span, is_tracing, start_span

Lane = Callable[[Scope, Receive, Send], Awaitable[int]]
"""Answers one path, of whatever method, without a framework, and tells the status of its answer. `PASSED_ON`
tells that it has not answered, nor received anything: the application has to."""

PASSED_ON: Final = -1


def observed(app: ASGIApp, service: str, lanes: Mapping[str, Lane]) -> ASGIApp:
    """Wrap the application of a service.

    What it passes on carries the `traceparent` of its own span, if the trace is recorded.

    Args:
        app: answers everything that no lane does; of Litestar, or in front of it.
        service: its short name.
        lanes: by path, which is its own route template; a slash at the end makes no difference.
    """
    meter = RequestMeter(service)
    by_path = {path: (route, lane) for route, lane in lanes.items() for path in (route, f"{route}/")}
    no_lane: tuple[str, None] = ("", None)

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind != "http":
            await app(scope, receive, send)
            return
        started = perf_counter()
        http: Any = scope
        method = http["method"]
        route, lane = by_path.get(http["path"], no_lane)
        span = _join_trace(http) if is_tracing() else None
        handled = current_headers.set(http["headers"])
        status = 0
        try:
            status = PASSED_ON if lane is None else await lane(scope, receive, send)
            if status == PASSED_ON:
                answer = _Answer(send)
                try:
                    await app(scope, receive, answer.send)
                finally:
                    status = answer.status
        finally:
            current_headers.reset(handled)
            # Litestar tells its template as it finds the handler.
            route = route or http.get("path_template") or UNMATCHED
            meter.note(method, route, status, perf_counter() - started)
            if span is not None:
                meter.end_span(span, method, route, status, _find_last(http, b"x-request-id"))

    return call


class _Answer:
    """Notes the status of an answer as it passes."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    def send(self, message: Message) -> Awaitable[None]:
        """Not a coroutine itself: it adds no step to the way of each message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        return self._send(message)


def _join_trace(scope: HTTPScope) -> Span | None:
    parent = _find_last(scope, b"traceparent")
    span = start_span(scope["method"], Kind.SERVER, parent)
    if span is not None:
        others = [header for header in scope["headers"] if header[0] != b"traceparent"]
        scope["headers"] = [*others, (b"traceparent", span.traceparent)]
    return span


def _find_last(scope: HTTPScope, name: bytes) -> bytes | None:
    """A header that the gateway has set once: those stand at the end."""
    headers: Any = scope["headers"]  # a list, as every server gives it
    for header in reversed(headers):
        if header[0] == name:
            found: bytes = header[1]
            return found
    return None
