"""A collector: takes OTLP over HTTP and keeps what it was sent."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, TypeVar

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

T = TypeVar("T")


class SeenSpan(NamedTuple):
    """A span as the collector got it."""

    process: str
    span: Span

    @property
    def kind(self) -> str:
        return str(Span.SpanKind.Name(self.span.kind)).removeprefix("SPAN_KIND_")

    @property
    def attributes(self) -> dict[str, Any]:
        return values_of(self.span.attributes)


def values_of(attributes: Any) -> dict[str, Any]:
    """Attributes as a dictionary."""

    def value_of(each: KeyValue) -> Any:
        return getattr(each.value, str(each.value.WhichOneof("value")))

    return {each.key: value_of(each) for each in attributes}


class Receiver:
    """What came in. It can refuse with 503, and it can hang until it is released."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.refuses = False
        self.hangs = False
        self.released = threading.Event()
        self.spans: list[SeenSpan] = []
        self.metrics: dict[str, Metric] = {}
        self.resources: list[dict[str, Any]] = []

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for traced in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = values_of(traced.resource.attributes)
                self.resources.append(resource)
                for scope in traced.scope_spans:
                    self.spans += [SeenSpan(resource["service.name"], span) for span in scope.spans]
        elif path == "/v1/metrics":
            for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.resources.append(values_of(measured.resource.attributes))
                for measures in measured.scope_metrics:
                    self.metrics.update({metric.name: metric for metric in measures.metrics})
        else:
            raise AssertionError(path)

    def trace(self, trace_id: str) -> list[SeenSpan]:
        """The spans of one trace so far."""
        return [seen for seen in list(self.spans) if seen.span.trace_id.hex() == trace_id]

    def wait(self, look: Callable[[], T], within_s: float = 20) -> T:
        """What `look` finds, as soon as it is something."""
        deadline = time.monotonic() + within_s
        while True:
            found = look()
            if found:
                return found
            assert time.monotonic() < deadline, [(s.process, s.kind, s.span.name) for s in self.spans]
            time.sleep(0.05)


@contextmanager
def open_receiver() -> Iterator[Receiver]:
    """A collector of this process."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if receiver.hangs:
                receiver.released.wait(60)
            if not receiver.refuses:
                receiver.take(self.path, body)
            self.send_response(503 if receiver.refuses else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.shutdown()
        server.server_close()


def main() -> None:
    """Receive until the process is ended; the first line of output is the address."""
    with open_receiver() as receiver:
        print(receiver.url, flush=True)
        while True:
            time.sleep(1)
            receiver.spans.clear()
            receiver.resources.clear()


if __name__ == "__main__":
    main()
