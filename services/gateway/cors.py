"""Which sites' scripts may read our answers (Fetch, "CORS protocol"). None, unless the settings name them."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from services.gateway.requests import Header
from shared.web.asgi import find_header

EVERYBODY: Final = "*"

_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")

_EXPOSED: Final = (
    b"access-control-expose-headers",
    (
        b"ETag, Idempotent-Replayed, Link, Location, RateLimit, RateLimit-Policy, Retry-After, "
        b"X-LLMRing-Complete, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-ID"
    ),
)
ALLOWED: Final = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
    (
        b"access-control-allow-headers",
        (
            b"Authorization, Content-Type, Idempotency-Key, If-None-Match, Traceparent, Tracestate, "
            b"X-API-Key, X-Request-ID"
        ),
    ),
    (b"access-control-max-age", b"7200"),
)
_BY_ORIGIN: Final = (b"vary", b"Origin")


class Cors:
    """Tells browsers who may read an answer.

    An origin that is named may also send the visitor's cookies. `*` never may: a stranger's script can then
    do what it could do from anywhere, with a key of its own.

    Args:
        origins: as browsers write them, such as `https://app.example.com`; or `*` alone; or none.

    Raises:
        ValueError: one of them is no origin, or `*` is not alone.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        for origin in origins:
            if origin == EVERYBODY:
                if len(origins) > 1:
                    raise ValueError("'*' means every origin: name no others beside it")
            elif not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin: write https://app.example.com, lower case and without a path"
                )
        self._everybody = EVERYBODY in origins
        self._named = frozenset(origin.encode() for origin in origins) - {EVERYBODY.encode()}

    def headers_for(self, origin: bytes | None) -> tuple[Header, ...]:
        """What an answer to a request of this origin carries."""
        if self._everybody:
            return ((b"access-control-allow-origin", b"*"), _EXPOSED)
        if not self._named:
            return ()
        if origin not in self._named or origin is None:
            return (_BY_ORIGIN,)
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            _EXPOSED,
            _BY_ORIGIN,
        )

    def is_preflight(self, origin: bytes | None, headers: Iterable[Header]) -> bool:
        """Whether an OPTIONS is the question of a browser that may ask (`ALLOWED` is the answer).

        It is answered whether anything is at the path or not: that the request itself will show.
        """
        if not self._everybody and origin not in self._named:
            return False
        return find_header(headers, b"access-control-request-method") is not None
