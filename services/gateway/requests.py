"""What the gateway reads from a request's headers, and which of them it passes on, in one pass.

Dropped from outside: what belongs to one connection (RFC 9110, 7.6.1), the API key and the session's cookie
themselves, and every header by which a stranger could claim to be somebody: ours, and those that other
systems' proxies use for it.
"""

from collections.abc import Iterable
from os import urandom
from typing import Final

from shared.telemetry.traceparent import is_traceparent
from shared.telemetry.tracing import Span, passed_on

Header = tuple[bytes, bytes]

# Places in the list that `read_headers` returns.
API_KEY: Final = 0
AUTHORIZATION: Final = 1
REQUEST_ID: Final = 2
TRACEPARENT: Final = 3
TRACESTATE: Final = 4
FORWARDED_FOR: Final = 5
CONNECTION: Final = 6
FORWARDED_PROTO: Final = 7
COOKIE: Final = 8
CONTENT_TYPE: Final = 9
CONTENT_LENGTH: Final = 10
TRANSFER_ENCODING: Final = 11
ORIGIN: Final = 12
CONTENT_ENCODING: Final = 13

_PLACES: Final = 14
_FIRST_KEPT: Final = CONTENT_TYPE
_DROPPED: Final = -1

# Transfer-Encoding stays: it alone tells an upstream over HTTP that a body follows, and that one drops it.
_PLACE: Final[dict[bytes, int]] = {
    b"x-api-key": API_KEY,
    b"authorization": AUTHORIZATION,
    b"x-request-id": REQUEST_ID,
    b"traceparent": TRACEPARENT,
    b"tracestate": TRACESTATE,
    b"x-forwarded-for": FORWARDED_FOR,
    b"connection": CONNECTION,
    b"x-forwarded-proto": FORWARDED_PROTO,
    b"cookie": COOKIE,
    b"content-type": CONTENT_TYPE,
    b"content-length": CONTENT_LENGTH,
    b"content-encoding": CONTENT_ENCODING,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"origin": ORIGIN,
} | dict.fromkeys(
    (
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"forwarded",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-user",
        b"x-real-ip",
        b"cf-connecting-ip",
        b"true-client-ip",
        b"x-client-ip",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-http-method-override",
        b"x-user-id",
        b"x-project-id",
        b"x-account-id",
        b"x-key-id",
        b"remote-user",
        b"x-remote-user",
    ),
    _DROPPED,
)
# The underscore is what some servers take for a dash.
_INTERNAL: Final = (b"x-llmring", b"x_llmring")

_PLAIN_CONNECTION: Final = frozenset((b"keep-alive", b"close", b"Keep-Alive", b"Close"))
_NEVER_NOMINATED: Final = frozenset(
    (
        b"host",
        b"content-type",
        b"content-length",
        b"transfer-encoding",
        # What tells whether a session's request comes from our own pages.
        b"origin",
        b"referer",
        b"sec-fetch-site",
        b"user-agent",
    )
)

_SANE: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"


def read_headers(headers: Iterable[Header]) -> tuple[list[Header], list[bytes | None]]:
    """Split a request's headers into those to pass on and those that the gateway looks at.

    Returns:
        The headers to pass on, and a list in which the constants above are the places of the values found. A
        header that came more than once is one value joined by `, ` (RFC 9110, 5.3), so that two API keys,
        two request ids or two content types are never a valid one; cookies are joined by `; `, which is their
        own form (RFC 9113, 8.2.3).
    """
    kept: list[Header] = []
    found: list[bytes | None] = [None] * _PLACES
    place_of = _PLACE.get
    for header in headers:
        name = header[0]
        place = place_of(name)
        if place is None:
            if not name.startswith(_INTERNAL):
                kept.append(header)
        elif place >= 0:
            before = found[place]
            if before is None:
                found[place] = header[1]
            else:
                found[place] = before + (b"; " if place == COOKIE else b", ") + header[1]
            if place >= _FIRST_KEPT:
                kept.append(header)
    connection = found[CONNECTION]
    if connection is not None and connection not in _PLAIN_CONNECTION:
        kept = _without_nominated(kept, connection)
    return kept, found


def _without_nominated(headers: list[Header], connection: bytes) -> list[Header]:
    # `Connection: x-secret` makes x-secret a header of this connection only.
    nominated = {name.strip().lower() for name in connection.split(b",")} - _NEVER_NOMINATED
    return [header for header in headers if header[0] not in nominated]


def is_sane_request_id(text: bytes | None) -> bool:
    """Whether a caller's request id may be used: 1 to 128 of `A-Z a-z 0-9 . _ -`, safe in any log."""
    return bool(text) and len(text) <= 128 and not text.translate(None, _SANE)  # type: ignore[union-attr, arg-type]  # bool(text)


def trace_headers(found: list[bytes | None], span: Span | None) -> list[Header]:
    """The trace context for those behind: the gateway's own span, or the caller's, or a new one.

    A new one has a random trace id and does not say that it is sampled: the gateway records nothing of it.
    """
    parent = found[TRACEPARENT]
    if parent is None or not is_traceparent(parent):
        if span is not None:
            return [(b"traceparent", span.traceparent)]
        ids = urandom(24).hex()
        return [(b"traceparent", f"00-{ids[:32]}-{ids[32:]}-00".encode())]
    kept = [(b"traceparent", passed_on(parent) if span is None else span.traceparent)]
    state = found[TRACESTATE]
    if state is not None:
        kept.append((b"tracestate", state))
    return kept


def has_body(found: list[bytes | None]) -> bool:
    """Whether the request says that a body follows."""
    length = found[CONTENT_LENGTH]
    return (length is not None and length != b"0") or found[TRANSFER_ENCODING] is not None


def is_json(content_type: bytes) -> bool:
    """Whether a media type is JSON: `application/json`, or one with the suffix `+json` (RFC 6839)."""
    if content_type == b"application/json":
        return True
    essence = content_type.partition(b";")[0].strip().lower()
    return essence == b"application/json" or (
        essence.startswith(b"application/") and essence.endswith(b"+json")
    )
