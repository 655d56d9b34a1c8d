"""From an answer that is no success to the error that says so."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from llmring.api.exceptions import (
    APIAuthenticationError,
    APIConflictError,
    APIError,
    APINotFoundError,
    APIPermissionError,
    APIQuotaExceededError,
    APIRateLimitError,
    APIServerError,
    APIUnavailableError,
    APIValidationError,
    FieldError,
)

_CLASSES: Final[dict[int, type[APIError]]] = {
    400: APIValidationError,
    401: APIAuthenticationError,
    403: APIPermissionError,
    404: APINotFoundError,
    409: APIConflictError,
    410: APINotFoundError,
    413: APIValidationError,
    415: APIValidationError,
    422: APIValidationError,
    429: APIRateLimitError,
    502: APIUnavailableError,
    503: APIUnavailableError,
    504: APIUnavailableError,
}


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> APIError:
    """The error that an answer stands for.

    Nothing in the answer can make this fail: a proxy may have made it.
    """
    problem = _read(body)
    error = problem_error(problem, status)
    error.request_id = error.request_id or headers.get("X-Request-ID")
    error.retry_after = read_retry_after(headers)
    if isinstance(error, APIRateLimitError) and error.reset_time is None:
        error.reset_time = _reset_time(headers, error.retry_after)
    return error


def problem_error(problem: Mapping[str, Any], status: int) -> APIError:
    """The error that a problem document stands for, such as that of one record of a batch."""
    kind = _text(problem, "type").rpartition("/")[2]
    cls = _CLASSES.get(status) or (APIServerError if status >= 500 else APIError)
    if status == 429 and kind == "quota-exceeded":
        cls = APIQuotaExceededError
    listed = problem.get("errors")
    error = cls(
        _text(problem, "detail") or f"the server answered with the status {status}",
        status=status,
        type=_text(problem, "type"),
        title=_text(problem, "title"),
        instance=_text(problem, "instance"),
        request_id=_text(problem, "request_id") or None,
        errors=[
            FieldError(_text(each, "field"), _text(each, "message"))
            for each in (listed if isinstance(listed, list) else [])
            if isinstance(each, dict)
        ],
    )
    if isinstance(error, APIRateLimitError):
        error.reset_time = read_instant(problem.get("resets_at"))
    return error


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of `Retry-After`, given as such or as a date (RFC 9110, section 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError, TypeError, IndexError):  # it raises these, though it promises one
        return None


def read_instant(value: object) -> datetime | None:
    """An RFC 3339 instant, or None where it is none."""
    try:
        found = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return None
    return found if found.tzinfo is not None else None


def _reset_time(headers: Mapping[str, str], retry_after: float | None) -> datetime | None:
    text = headers.get("X-RateLimit-Reset", "")
    if text.isascii() and text.isdigit() and len(text) < 12:
        return datetime.fromtimestamp(int(text), UTC)
    return datetime.now(UTC) + timedelta(seconds=retry_after) if retry_after is not None else None


def _read(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(problem: Mapping[str, Any], name: str) -> str:
    value = problem.get(name)
    return value if isinstance(value, str) else ""
