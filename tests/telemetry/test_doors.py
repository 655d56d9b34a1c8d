"""What the gateway and the services behind it tell of each request."""

import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from uuid import UUID

import pytest
from litestar import get, post
from litestar.params import FromPath
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from shared.errors import UnavailableError
from shared.telemetry.logs import JsonLines
from shared.telemetry.metrics import REGISTRY
from shared.web.app import build_app
from shared.web.asgi import send_answer
from tests.gateway.conftest import House, open_house
from tests.gateway.streets import FakeAuth
from tests.telemetry.conftest import Trace, parts_of
from tests.telemetry.test_tracing import SAMPLED, TRACE_ID, UNSAMPLED

Grown = Callable[..., float]
COUNT = "llmring_http_request_duration_seconds_count"
_log = logging.getLogger(__name__)


@get("/api/v1/logs/{log_id:uuid}", sync_to_thread=False)
def get_log(log_id: FromPath[UUID]) -> dict[str, str]:
    """Answers."""
    _log.warning("looked at it")
    return {"log_id": str(log_id)}


@post("/api/v1/log/broken", sync_to_thread=False)
def break_down() -> None:
    """Fails for a reason of its own."""
    raise UnavailableError("the secret reason")


async def lane(scope: Any, receive: Any, send: Any) -> int:
    """A path without Litestar."""
    return await send_answer(send, 200, b"{}")


@pytest.fixture(params=["in_process", "over_http"])
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    async with open_house(request.param) as opened:
        opened.services["ingest"].act = build_app(
            "ingest",
            [get_log, break_down],
            service="ingest",
            principals=opened.principals,
            version="1",
            lanes={"/api/v1/log": lane},
        )
        yield opened


async def log_once(house: House, *headers: tuple[str, str]) -> int:
    key = house.new_key()
    answer = await house.ask(
        "POST",
        "/api/v1/log",
        ("X-API-Key", key),
        ("Content-Type", "application/json"),
        ("X-Request-ID", "r-1"),
        *headers,
        body=b'{"secret": "s3cret"}',
    )
    return answer.status


def by_service(spans: list[ReadableSpan]) -> Mapping[str, ReadableSpan]:
    return {str(parts_of(span)["llmring.service"]): span for span in spans}


async def test_the_services_span_is_below_the_gateways(house: House, trace: Trace) -> None:
    ended = trace(1.0)
    assert await log_once(house) == 200
    gateway, ingest = (by_service(ended())[name] for name in ("gateway", "ingest"))
    assert gateway.parent is None
    assert ingest.parent is not None
    assert (ingest.parent.span_id, ingest.context.trace_id) == (
        gateway.context.span_id,
        gateway.context.trace_id,
    )
    for span, service in ((gateway, "gateway"), (ingest, "ingest")):
        assert (span.name, span.kind) == ("POST /api/v1/log", SpanKind.SERVER)
        assert parts_of(span) == {
            "llmring.service": service,
            "llmring.request_id": "r-1",
            "http.request.method": "POST",
            "http.route": "/api/v1/log",
            "http.response.status_code": 200,
        }
        assert span.status.status_code is StatusCode.UNSET


async def test_the_callers_trace_goes_through(house: House, trace: Trace) -> None:
    ended = trace(0.0)
    await log_once(house, ("traceparent", SAMPLED.decode()))
    spans = by_service(ended())
    assert {f"{span.context.trace_id:032x}" for span in spans.values()} == {TRACE_ID}
    parent = spans["gateway"].parent
    assert parent is not None
    assert f"{parent.span_id:016x}" == "00f067aa0ba902b7"


async def test_a_request_that_is_not_sampled_leaves_no_span(house: House, trace: Trace) -> None:
    ended = trace(1.0)
    house.services["ingest"].act = None
    await log_once(house, ("traceparent", UNSAMPLED.decode()), ("tracestate", "a=1"))
    request = house.services["ingest"].last
    assert (request.all("traceparent"), request.all("tracestate")) == ([UNSAMPLED.decode()], ["a=1"])
    assert ended() == []


async def test_a_question_to_auth_belongs_to_the_request_that_asked(
    house: House, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace(1.0)
    asked: list[dict[bytes, bytes]] = []
    answer = FakeAuth.__call__

    async def note(auth: FakeAuth, scope: Any, receive: Any, send: Any) -> None:
        asked.append(dict(scope["headers"]))
        await answer(auth, scope, receive, send)

    monkeypatch.setattr(FakeAuth, "__call__", note)
    await log_once(house, ("traceparent", SAMPLED.decode()))
    [headers] = asked
    assert headers[b"x-request-id"] == b"r-1"
    assert TRACE_ID.encode() in headers[b"traceparent"]
    assert headers[b"traceparent"] != SAMPLED


async def test_an_error_of_the_server_marks_its_spans_without_the_reason(house: House, trace: Trace) -> None:
    ended = trace(1.0)
    key = house.new_key()
    answer = await house.ask(
        "POST", "/api/v1/log/broken", ("X-API-Key", key), ("Content-Type", "application/json"), body=b"{}"
    )
    assert answer.status == 503
    spans = by_service(ended())
    assert {span.status.status_code for span in spans.values()} == {StatusCode.ERROR}
    assert {str(parts_of(span)["error.type"]) for span in spans.values()} == {"503"}
    told = "".join(span.to_json() for span in spans.values())
    assert "secret reason" not in told
    assert key not in told


async def test_requests_are_measured_by_route_template_and_status_class(house: House, grown: Grown) -> None:
    key = house.new_key(requests_per_minute=4)
    for path in (
        "/api/v1/logs/0198c1d2-7e6f-7000-8000-000000000000",
        "/api/v1/logs/0198c1d2-7e6f-7000-8000-000000000001",
        "/api/v1/logs/nonsense",
        "/api/v1/logs/0198c1d2-7e6f-7000-8000-000000000000/more",
        "/api/v1/logs/over-the-limit",
        "/nowhere/at/all",
        "/health/live",
    ):
        await house.ask("GET", path, ("X-API-Key", key))
    await house.ask("BREW", "/nowhere")
    await log_once(house)

    def count(service: str, route: str, status: str, method: str = "GET") -> float:
        return grown(COUNT, service=service, method=method, route=route, status=status)

    assert count("gateway", "/api/v1/logs/*", "2xx") == 2
    assert count("gateway", "/api/v1/logs/*", "4xx") == 3
    assert count("gateway", "unmatched", "4xx") == 1
    assert count("gateway", "unmatched", "4xx", "other") == 1
    assert count("gateway", "/health/live", "2xx") == 1
    assert count("gateway", "/api/v1/log", "2xx", "POST") == 1
    assert count("ingest", "/api/v1/logs/{log_id}", "2xx") == 2
    assert count("ingest", "unmatched", "4xx") == 2
    assert count("ingest", "/api/v1/log", "2xx", "POST") == 1


async def test_no_caller_can_make_a_new_label(house: House) -> None:
    await house.ask("GET", "/")
    await house.ask("BREW", "/")

    def labels() -> set[str]:
        return {json.dumps(sample.labels) for family in REGISTRY.collect() for sample in family.samples}

    await house.ask("GET", "/a")
    await house.ask("BREW", "/a")
    before = labels()
    for number in range(50):
        await house.ask("GET", f"/a/{number}", ("Host", f"h{number}"), ("X-Request-ID", f"r{number}"))
        await house.ask(f"BREW{number}", f"/b{number}?c={number}")
    assert labels() == before


async def test_a_log_line_tells_its_request_and_its_trace(house: House, trace: Trace) -> None:
    trace(1.0)
    lines: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonLines().format(record)))

    handler = Keep()
    _log.addHandler(handler)
    try:
        for headers in ((("traceparent", SAMPLED.decode()),), (("traceparent", UNSAMPLED.decode()),)):
            await house.ask(
                "GET",
                "/api/v1/logs/0198c1d2-7e6f-7000-8000-000000000000",
                ("X-API-Key", house.new_key()),
                ("X-Request-ID", "r-7"),
                *headers,
            )
        _log.warning("outside")
    finally:
        _log.removeHandler(handler)
    sampled, unsampled, outside = lines
    assert (sampled["request_id"], sampled["trace_id"], len(sampled["span_id"])) == ("r-7", TRACE_ID, 16)
    assert unsampled["request_id"] == "r-7"
    assert unsampled.keys() & {"trace_id", "span_id"} == set()
    assert outside.keys() == {"at", "level", "logger", "message"}
