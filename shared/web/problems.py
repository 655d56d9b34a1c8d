"""Problem documents (RFC 9457), and the one table that turns a kind of error into a status."""

import math

import msgspec
from litestar.types import Scope, Send

from shared.clock import rfc3339
from shared.contracts.usage import UsdNumber
from shared.errors import BudgetExceededError, Kind, LLMRingError, QuotaExceededError, RateLimitedError
from shared.money import plain
from shared.web.asgi import request_id_of, send_answer

PROBLEM_JSON = (b"content-type", b"application/problem+json")
TYPE_PREFIX = "https://llmring.ai/problems/"

STATUSES: dict[Kind, tuple[int, str]] = {
    Kind.MALFORMED_REQUEST: (400, "The request is malformed"),
    Kind.UNAUTHENTICATED: (401, "Authentication is required"),
    Kind.FORBIDDEN: (403, "Not allowed"),
    Kind.EMAIL_NOT_VERIFIED: (403, "The email address is not verified"),
    Kind.NOT_FOUND: (404, "Not found"),
    Kind.METHOD_NOT_ALLOWED: (405, "The method is not allowed"),
    Kind.CONFLICT: (409, "Conflict"),
    Kind.GONE: (410, "Gone"),
    Kind.TOO_LARGE: (413, "The body is too large"),
    Kind.UNSUPPORTED_MEDIA_TYPE: (415, "The media type is not supported"),
    Kind.INVALID_FIELD: (422, "A field is invalid"),
    Kind.RATE_LIMITED: (429, "Too many requests"),
    Kind.QUOTA_EXCEEDED: (429, "The monthly quota is used up"),
    Kind.BUDGET_EXCEEDED: (409, "The budget does not have so much left"),
    Kind.INTERNAL: (500, "Internal error"),
    Kind.UNAVAILABLE: (503, "Temporarily unavailable"),
}


class FieldError(msgspec.Struct, frozen=True):
    """One field of the request that is wrong."""

    field: str
    message: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An RFC 9457 problem document. `detail` is always a plain sentence.

    Attributes:
        resets_at: of a quota that is used up, when it starts anew.
        remaining: of a budget, what is left of it, in US dollars.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str = ""
    errors: list[FieldError] = []
    resets_at: str = ""
    remaining: UsdNumber | msgspec.UnsetType = msgspec.UNSET


_encoder = msgspec.json.Encoder()


def problem_of(error: LLMRingError, *, instance: str, request_id: str) -> Problem:
    """Describe an error to its caller. The detail of an internal error stays private."""
    status, title = STATUSES[error.kind]
    detail = "Something went wrong on our side." if error.kind is Kind.INTERNAL else error.detail
    return Problem(
        type=TYPE_PREFIX + error.kind.value,
        title=title,
        status=status,
        detail=detail,
        instance=instance,
        request_id=request_id,
        errors=[FieldError(f.field, f.message) for f in error.faults],
        resets_at=_resets_at(error),
        remaining=_remaining(error),
    )


def read_problem(body: bytes) -> Problem:
    """The problem document that somebody answered; where it is none, one that says what it is instead."""
    try:
        return msgspec.json.decode(body, type=Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Problem(type="", title="", status=0, detail=body[:200].decode("utf-8", "replace"), instance="")


def _resets_at(error: LLMRingError) -> str:
    if isinstance(error, QuotaExceededError) and error.resets_at is not None:
        return rfc3339(error.resets_at)
    return ""


def _remaining(error: LLMRingError) -> msgspec.Raw | msgspec.UnsetType:
    if isinstance(error, BudgetExceededError) and error.remaining is not None:
        return msgspec.Raw(plain(error.remaining).encode())
    return msgspec.UNSET


def problem_headers(error: LLMRingError) -> list[tuple[bytes, bytes]]:
    """The headers that go with an error: `Retry-After` (RFC 9110, 10.2.3), `WWW-Authenticate` (11.6.1).

    And those of a limit that is reached, where it is not the gateway's
    (draft-ietf-httpapi-ratelimit-headers-10).
    """
    headers: list[tuple[bytes, bytes]] = []
    if error.kind is Kind.UNAUTHENTICATED:
        headers.append((b"www-authenticate", b'Bearer realm="llmring"'))
    if error.retry_after is not None:
        seconds = max(1, math.ceil(error.retry_after.total_seconds()))
        headers.append((b"retry-after", b"%d" % seconds))
        if isinstance(error, RateLimitedError) and error.limit is not None:
            headers += [
                (b"x-ratelimit-limit", b"%d" % error.limit),
                (b"x-ratelimit-remaining", b"0"),
                (b"x-ratelimit-reset", b"%d" % error.reset_at),
                (b"ratelimit-policy", b'"attempts";q=%d;w=60' % error.limit),
                (b"ratelimit", b'"attempts";r=0;t=%d' % seconds),
            ]
    return headers


def encode_problem(error: LLMRingError, scope: Scope) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """The status, body and headers that answer `scope` with this error."""
    problem = problem_of(error, instance=scope["path"], request_id=request_id_of(scope))
    return problem.status, _encoder.encode(problem), problem_headers(error)


async def send_problem(
    scope: Scope, send: Send, error: LLMRingError, extra_headers: list[tuple[bytes, bytes]] | None = None
) -> int:
    """Answer a request with an error; tells the status that it has."""
    status, body, headers = encode_problem(error, scope)
    return await send_answer(send, status, body, headers + (extra_headers or []), content_type=PROBLEM_JSON)
