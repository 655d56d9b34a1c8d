"""The closed list of ways a request or a step can fail. No transport is named here.

One table in `shared.web.problems` turns each kind into an HTTP status. A kind's value, in kebab-case, is
the last part of the problem document's `type` (RFC 9457).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, NamedTuple


class Kind(StrEnum):
    """What went wrong, as one of a closed list."""

    MALFORMED_REQUEST = "malformed-request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    EMAIL_NOT_VERIFIED = "email-not-verified"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    CONFLICT = "conflict"
    GONE = "gone"
    TOO_LARGE = "too-large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    INVALID_FIELD = "invalid-field"
    RATE_LIMITED = "rate-limited"
    QUOTA_EXCEEDED = "quota-exceeded"
    BUDGET_EXCEEDED = "budget-exceeded"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class Fault(NamedTuple):
    """One field that is wrong, and why, as a plain sentence."""

    field: str
    message: str


class LLMRingError(Exception):
    """The root of every error that may be told to a caller.

    Attributes:
        detail: a plain sentence for a person; it never holds a secret or a traceback.
        faults: the fields at fault, for `Kind.INVALID_FIELD`.
        retry_after: how long to wait before trying again, where that is known.
    """

    kind: ClassVar[Kind] = Kind.INTERNAL

    def __init__(
        self, detail: str, *, faults: Sequence[Fault] = (), retry_after: timedelta | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults)
        self.retry_after = retry_after


class MalformedRequestError(LLMRingError):
    """The bytes are not what they claim to be (not JSON, not UTF-8)."""

    kind = Kind.MALFORMED_REQUEST


class UnauthenticatedError(LLMRingError):
    """No key, or one that does not open anything."""

    kind = Kind.UNAUTHENTICATED


class ForbiddenError(LLMRingError):
    """The key is good, but not for this."""

    kind = Kind.FORBIDDEN


class EmailNotVerifiedError(LLMRingError):
    """A provider tells no address of which it has checked that its owner reads mail to it."""

    kind = Kind.EMAIL_NOT_VERIFIED


class NotFoundError(LLMRingError):
    """No such thing, or not for this caller: the two answer the same."""

    kind = Kind.NOT_FOUND


class MethodNotAllowedError(LLMRingError):
    """The path exists, the method on it does not."""

    kind = Kind.METHOD_NOT_ALLOWED


class ConflictError(LLMRingError):
    """The request contradicts what is already there."""

    kind = Kind.CONFLICT


class GoneError(LLMRingError):
    """It was there once, and is no longer."""

    kind = Kind.GONE


class TooLargeError(LLMRingError):
    """The body is larger than the limit."""

    kind = Kind.TOO_LARGE


class UnsupportedMediaTypeError(LLMRingError):
    """The body is of a type that is not understood here."""

    kind = Kind.UNSUPPORTED_MEDIA_TYPE


class InvalidFieldError(LLMRingError):
    """One or more fields are wrong; `faults` names each of them."""

    kind = Kind.INVALID_FIELD

    @classmethod
    def of(cls, field: str, message: str) -> "InvalidFieldError":
        """Build the error for a single field; the sentence starts with the field's name."""
        return cls(f"{field}: {message}", faults=[Fault(field, message)])

    @classmethod
    def all(cls, faults: Sequence[Fault]) -> "InvalidFieldError":
        """Build the error that names every fault at once."""
        return cls("; ".join(f"{f.field}: {f.message}" for f in faults), faults=faults)


class RateLimitedError(LLMRingError):
    """Too many requests in the window; `retry_after` says when the next one passes.

    Attributes:
        limit: how many pass in any minute, where whoever answers has no other way to tell.
        reset_at: epoch second at which that window is full again.
    """

    kind = Kind.RATE_LIMITED

    def __init__(
        self,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        retry_after: timedelta | None = None,
        limit: int | None = None,
        reset_at: int = 0,
    ) -> None:
        super().__init__(detail, faults=faults, retry_after=retry_after)
        self.limit = limit
        self.reset_at = reset_at


class QuotaExceededError(LLMRingError):
    """The month's records are used up; `resets_at` is when the next month begins."""

    kind = Kind.QUOTA_EXCEEDED

    def __init__(
        self,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        retry_after: timedelta | None = None,
        resets_at: datetime | None = None,
    ) -> None:
        super().__init__(detail, faults=faults, retry_after=retry_after)
        self.resets_at = resets_at


class BudgetExceededError(LLMRingError):
    """Less is left of a budget than was to be reserved; `remaining` is what is left, in US dollars."""

    kind = Kind.BUDGET_EXCEEDED

    def __init__(
        self,
        detail: str,
        *,
        faults: Sequence[Fault] = (),
        retry_after: timedelta | None = None,
        remaining: Decimal | None = None,
    ) -> None:
        super().__init__(detail, faults=faults, retry_after=retry_after)
        self.remaining = remaining


class UnavailableError(LLMRingError):
    """A dependency is away, and nothing was recorded. Safe to try again."""

    kind = Kind.UNAVAILABLE

    def __init__(
        self, detail: str, *, faults: Sequence[Fault] = (), retry_after: timedelta | None = None
    ) -> None:
        super().__init__(detail, faults=faults, retry_after=retry_after or timedelta(seconds=2))
