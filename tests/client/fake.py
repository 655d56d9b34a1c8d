"""An HTTP server whose every answer the test decides, and which remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Seen(NamedTuple):
    """One request."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: Any


class Reply(NamedTuple):
    """One answer; a status of 0 breaks the connection instead."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


def problem(status: int, kind: str, detail: str = "no", **more: Any) -> Reply:
    """An error as the server words it; members of `headers` are headers."""
    headers = more.pop("headers", {})
    body = {"type": f"https://llmring.ai/problems/{kind}", "title": kind, "status": status, "detail": detail}
    return Reply(status, body | more, headers)


class FakeServer:
    """Answers with `handler(seen)`, which may be exchanged at any time."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[Seen] = []
        self.handler: Callable[[Seen], Reply] = lambda _: Reply(404)

    def answer(self, *replies: Reply) -> None:
        """These, in order; the last one for ever."""
        left = list(replies)
        self.handler = lambda _: left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def open_fake() -> Iterator[FakeServer]:
    """Serve until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(raw) if raw else None
            seen = Seen(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
            fake.seen.append(seen)
            reply = fake.handler(seen)
            if reply.status == 0:
                self.close_connection = True
                return
            data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            if reply.status in (204, 304):
                data = b""
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(data)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names are the library's

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake = FakeServer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def accept_all(seen: Seen) -> Reply:
    """What the server answers to a batch of good records."""
    results = [
        {"log_id": record["idempotency_key"], "cost": None, "timestamp": "2026-01-01T00:00:00Z"}
        for record in seen.body["logs"]
    ]
    return Reply(200, {"accepted": len(results), "rejected": 0, "results": results})
