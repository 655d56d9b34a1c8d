"""Everything that a call can raise. Each error carries what the server said of it (RFC 9457)."""

from datetime import datetime
from typing import Final


class FieldError:
    """One wrong field: its name, and what is wrong with it."""

    __slots__ = ("field", "message")

    def __init__(self, field: str, message: str) -> None:
        self.field: Final = field
        self.message: Final = message

    def __repr__(self) -> str:
        return f"FieldError({self.field!r}, {self.message!r})"


class APIError(Exception):
    """The ancestor of all. Raised itself where no other one fits.

    Attributes:
        status: the HTTP status; None where there was no answer.
        type: the problem's type, an address whose last part is `kind`.
        kind: such as `invalid-field`; empty where the answer was no problem document.
        title: the kind in words.
        detail: one plain sentence.
        instance: the path.
        request_id: what to tell the operator.
        errors: the wrong fields, of a validation error.
        retry_after: after so many seconds it may go better; None where the server did not say.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        type: str = "",  # noqa: A002 - the name in RFC 9457
        title: str = "",
        instance: str = "",
        request_id: str | None = None,
        errors: list[FieldError] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.type = type
        self.kind = type.rpartition("/")[2]
        self.title = title
        self.instance = instance
        self.request_id = request_id
        self.errors = errors or []
        self.retry_after = retry_after


class APIConfigurationError(APIError):
    """The service was set up with something that cannot work, such as an address that is none."""


class APINetworkError(APIError):
    """There was no answer: no connection, or it broke, or it took too long.

    Nothing is known of the outcome.
    """


class APIAuthenticationError(APIError):
    """401: there is no key, or it is not, or no longer, a good one."""


class APIPermissionError(APIError):
    """403: the key is good, and may not do this."""


class APINotFoundError(APIError):
    """404 or 410: nothing is there, or not for this account; or no model has that name."""


class APIConflictError(APIError):
    """409: it contradicts what is there."""


class APIValidationError(APIError):
    """400, 413, 415 or 422: what was sent is wrong. `errors` names the fields."""


class APIRateLimitError(APIError):
    """429: too many requests.

    Attributes:
        reset_time: when the limit is whole again, UTC; after `retry_after` seconds a single request passes.
    """

    reset_time: datetime | None = None


class APIQuotaExceededError(APIRateLimitError):
    """429: the month's records are used up. `reset_time` is when the next month begins."""


class APIServerError(APIError):
    """5xx, or an answer that cannot be read: the server's fault."""


class APIUnavailableError(APIServerError):
    """502, 503 or 504: something is away for now. After a 503 nothing was recorded."""
