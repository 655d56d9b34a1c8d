"""A deployment as a witness sees it, which shows whatever log it likes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from shared.proofs.signing import encode_base64
from tests.witness.log import ALog


class Deployment:
    """What is shown, and what was brought."""

    def __init__(self, log: ALog, size: int) -> None:
        self.log = log
        self.size = size
        self.failing: dict[str, tuple[int, bytes]] = {}
        self.brought: list[str] = []
        self.url = ""

    def answer(self, path: str, query: dict[str, list[str]], body: str) -> tuple[int, bytes]:
        name = path.rsplit("/", 1)[-1]
        if name in self.failing:
            return self.failing[name]
        if name == "checkpoint":
            return 200, self.log.note(self.size).encode()
        if name == "consistency":
            old, new = int(query["from"][0]), int(query["to"][0])
            hashes = [encode_base64(each) for each in self.log.proof(old, new)]
            return 200, json.dumps({"from": old, "to": new, "hashes": hashes, "checkpoint": None}).encode()
        self.brought.append(body)
        return 200, b"{}"


@contextmanager
def deploy(log: ALog, size: int) -> Iterator[Deployment]:
    """Answer at an address while the block runs."""
    shown = Deployment(log, size)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            status, content = shown.answer(url.path, parse_qs(url.query), body)
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - as the library calls them

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shown.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield shown
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
