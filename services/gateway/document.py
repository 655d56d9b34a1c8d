"""The merged OpenAPI document as it is served, and the methods that OPTIONS is answered from."""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar.types import HTTPScope, Send

from services.gateway.describe import list_methods, merge_documents
from services.gateway.routes import RouteTable
from shared.clock import Clock
from shared.errors import LLMRingError, UnavailableError
from shared.web.asgi import find_header, send_answer
from shared.web.client import Upstream

OPENAPI_PATH: Final = "/internal/openapi.json"

_FRESH_S: Final = 60.0
_TRY_AGAIN_S: Final = 1.0
_ANSWER_WITHIN_S: Final = 5.0

_log = logging.getLogger(__name__)


class Document:
    """The merged OpenAPI document, built from what the services say and kept for a minute.

    A service that is away keeps the description it gave last; as long as one has never given any there is no
    document, since half of it would look like all of it.
    """

    def __init__(
        self, upstreams: Mapping[str, Upstream], routes: RouteTable, *, version: str, clock: Clock
    ) -> None:
        self._upstreams = upstreams
        self._routes = routes
        self._version = version
        self._clock = clock
        self._parts: dict[str, dict[str, Any]] = {}
        self._merged: dict[str, Any] = {}
        self._encoded = b""
        self._etag = b""
        self._good_until = 0.0
        self._building = asyncio.Lock()

    async def show(self, scope: HTTPScope, send: Send) -> None:
        """`GET /openapi.json`, with an ETag (RFC 9110, 8.8.3 and 13.1.2).

        Raises:
            UnavailableError: a service has never been heard.
        """
        await self._refresh()
        headers = [(b"etag", self._etag), (b"cache-control", b"no-cache")]
        wanted = find_header(scope["headers"], b"if-none-match")
        if wanted is not None and _names(wanted, self._etag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        await send_answer(send, 200, self._encoded, headers)

    async def list_methods(self, path: str) -> tuple[str, ...]:
        """The methods that the services have on a path; none where nothing is there.

        Raises:
            UnavailableError: a service has never been heard.
        """
        await self._refresh()
        return list_methods(self._merged, path, self._routes)

    async def _refresh(self) -> None:
        if self._clock.now().timestamp() < self._good_until:
            return
        async with self._building:
            now = self._clock.now().timestamp()
            if now < self._good_until:
                return
            answers = await asyncio.gather(*(self._ask(name) for name in self._upstreams))
            for name, part in zip(self._upstreams, answers, strict=True):
                if part is not None:
                    self._parts[name] = part
            missing = sorted(self._upstreams.keys() - self._parts.keys())
            if missing:
                raise UnavailableError(f"The description of {', '.join(missing)} is not there yet.")
            documents = {name: self._parts[name] for name in self._upstreams}
            self._merged = merge_documents(documents, self._routes, version=self._version)
            self._encoded = msgspec.json.encode(self._merged)
            self._etag = b'"%s"' % hashlib.sha256(self._encoded).hexdigest()[:32].encode()
            self._good_until = now + (_TRY_AGAIN_S if None in answers else _FRESH_S)

    async def _ask(self, name: str) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                answer = await self._upstreams[name].call("GET", OPENAPI_PATH)
            return msgspec.json.decode(answer.body, type=dict[str, Any])
        except (LLMRingError, msgspec.MsgspecError, TimeoutError, OSError) as error:
            _log.warning("%s does not describe itself: %s", name, error)
            return None


def _names(if_none_match: bytes, etag: bytes) -> bool:
    # Weak comparison, as If-None-Match asks for; our tags hold no comma.
    tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return b"*" in tags or etag in tags
