"""What a call does, told without doing it.

A call is a generator: it yields a `Request` and is sent the `Response`, or yields a `Pause` and goes on after
it, and returns its result. `transport` carries it out, blocking or not. So all that a call decides is written
once.
"""

import random
from collections.abc import Collection, Generator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias, TypeVar

import httpx

from llmring.api.exceptions import APIError, APINetworkError, APIUnavailableError
from llmring.api.problems import error_of

T = TypeVar("T")

TRIES: Final = 3
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0
"""Above this a call tells its caller, who knows better whether to wait."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request.

    Attributes:
        path: below the server's address, quoted where it must be.
        params: of the query; None is left out.
        body: JSON.
        repeatable: sending it twice does no harm.
    """

    method: str
    path: str
    params: dict[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    repeatable: bool = True


class Response(NamedTuple):
    """An answer. Names of headers are taken without case."""

    status: int
    headers: httpx.Headers
    body: bytes


class Pause(NamedTuple):
    """Wait before going on."""

    seconds: float


Flow: TypeAlias = Generator[Request | Pause, Response | None, T]


def full_jitter(attempt: int, first_s: float, longest_s: float) -> float:
    """How long to wait after the failed attempt of this number, from 0: any time up to a bound that doubles.

    Without the randomness all clients of a server that was away come back at the same moments.
    """
    return random.uniform(0, min(longest_s, first_s * 2 ** min(attempt, 30)))  # noqa: S311 - no secret


def exchange(request: Request, *, accept: Collection[int] = ()) -> Flow[Response]:
    """Send a request, again where that is harmless and may help, and return a good answer.

    Args:
        request: what to send.
        accept: statuses besides 2xx that are an answer and no error.

    Raises:
        APIError: every other outcome.
    """
    for attempt in range(TRIES):
        error: APIError
        try:
            response = yield request
        except APINetworkError as failed:
            error = failed
        else:
            assert response is not None  # noqa: S101 - a request is answered
            if 200 <= response.status < 300 or response.status in accept:
                return response
            error = error_of(response.status, response.headers, response.body)
        may_pass = isinstance(error, APINetworkError | APIUnavailableError)
        pause = max(error.retry_after or 0, full_jitter(attempt, FIRST_PAUSE_S, LONGEST_PAUSE_S))
        if not may_pass or not request.repeatable or attempt == TRIES - 1 or pause > LONGEST_PAUSE_S:
            raise error
        yield Pause(pause)
    raise AssertionError  # the last attempt returned or raised
