"""The whole registry as it is now, answered without a framework: what everybody asks for, again and again.

It answers only from what is at hand. Anything else (other methods, a query, a version not read yet) is passed
on to the handler of the same path, which answers the same.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple, cast

from litestar.types import HTTPScope, Receive, Scope, Send

from services.registry.edition import Edition
from services.registry.lookup import Lookup
from services.registry.routes.answer import CURRENT, choose_form
from shared.web.asgi import JSON
from shared.web.observed import PASSED_ON, Lane

PATHS: Final = ("/registry", "/registry.json")

_COMMON: Final = [(b"cache-control", CURRENT.encode()), (b"vary", b"Accept-Encoding")]
_KEPT: Final = 256
_KEPT_BYTES: Final = 1024

Header = tuple[bytes, bytes]


class _Prepared(NamedTuple):
    status: int
    headers: list[Header]
    body: bytes


class _Front:
    """Keeps the answers to what the readers of one edition send in their headers."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._edition: Edition | None = None
        self._prepared: dict[tuple[bytes, bytes], _Prepared] = {}

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> int:  # noqa: ARG002 - a lane's signature
        http = cast("HTTPScope", scope)
        edition = self._lookup.find_current()
        if edition is None or http["method"] != "GET" or http["query_string"]:
            return PASSED_ON
        if edition is not self._edition:
            self._edition, self._prepared = edition, {}
        asked = _read_headers(http["headers"])
        prepared = self._prepared.get(asked)
        if prepared is None:
            prepared = _prepare(edition, *asked)
            if prepared is None:
                return PASSED_ON
            if len(self._prepared) >= _KEPT:  # somebody sends ever other headers
                self._prepared.clear()
            if len(asked[0]) + len(asked[1]) <= _KEPT_BYTES:
                self._prepared[asked] = prepared
        await send({"type": "http.response.start", "status": prepared.status, "headers": [*prepared.headers]})
        await send({"type": "http.response.body", "body": prepared.body, "more_body": False})
        return prepared.status


def build_front(lookup: Lookup) -> dict[str, Lane]:
    """What answers at the paths of the registry first."""
    return dict.fromkeys(PATHS, _Front(lookup).answer)


def _read_headers(headers: Iterable[Header]) -> tuple[bytes, bytes]:
    accept_encoding = if_none_match = b""
    for name, value in headers:
        if name == b"if-none-match":
            if_none_match = if_none_match + b", " + value if if_none_match else value
        elif name == b"accept-encoding":
            accept_encoding = accept_encoding + b", " + value if accept_encoding else value
    return accept_encoding, if_none_match


def _prepare(edition: Edition, accept_encoding: bytes, if_none_match: bytes) -> _Prepared | None:
    choice = choose_form(edition, accept_encoding.decode("latin-1"), if_none_match.decode("latin-1"))
    if choice.matched is not None:
        return _Prepared(304, [*_COMMON, (b"etag", f'"{choice.matched}"'.encode())], b"")
    body = edition.find_form(choice.coding)
    if body is None:
        return None
    headers = [JSON, (b"content-length", b"%d" % len(body)), *_COMMON, (b"etag", f'"{choice.tag}"'.encode())]
    if choice.coding is not None:
        headers.append((b"content-encoding", choice.coding.encode()))
    return _Prepared(200, headers, body)
