"""Measures every request of a service, and puts its span into the trace of the request it came with."""

from collections.abc import Awaitable, Collection
from time import perf_counter
from typing import Any

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from shared.telemetry.current import current_headers
from shared.telemetry.requests import UNMATCHED, RequestMeter
from shared.telemetry.tracing import Kind, Span, is_tracing, start_span


def observed(app: ASGIApp, service: str, lanes: Collection[str]) -> ASGIApp:
    """Wrap the application of a service.

    What it passes on carries the `traceparent` of its own span, if the trace is recorded.

    Args:
        app: of Litestar, or in front of it.
        service: its short name.
        lanes: paths that Litestar does not see; each is its own template.
    """
    meter = RequestMeter(service)
    routes = {path: lane for lane in lanes for path in (lane, f"{lane}/")}

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind != "http":
            await app(scope, receive, send)
            return
        started = perf_counter()
        http: Any = scope
        method = http["method"]
        span = _join_trace(http) if is_tracing() else None
        answer = _Answer(send)
        handled = current_headers.set(http["headers"])
        try:
            await app(scope, receive, answer.send)
        finally:
            current_headers.reset(handled)
            # Litestar tells its template as it finds the handler.
            route = routes.get(http["path"]) or http.get("path_template") or UNMATCHED
            meter.note(method, route, answer.status, perf_counter() - started)
            if span is not None:
                meter.end_span(span, method, route, answer.status, _find_last(http, b"x-request-id"))

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
