"""Sending one batch, and what its answer means for each of its records."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from llmring.api.exceptions import (
    APIAuthenticationError,
    APIConflictError,
    APIError,
    APINetworkError,
    APIPermissionError,
    APIQuotaExceededError,
    APIRateLimitError,
    APIServerError,
    APIValidationError,
)
from llmring.api.exchange import Flow, Request, Response
from llmring.api.problems import error_of, problem_error
from llmring.api.queue.store import Row
from llmring.api.transport import SyncTransport

LONGEST_WAIT_S: Final = 900.0
"""A quota may reset in weeks, but another tier holds within a second; so it is tried now and then."""


@dataclass
class Outcome:
    """What became of a batch.

    Attributes:
        sent: the server has them.
        later: to be sent again.
        unstamped: likewise, without the time of this machine's clock.
        refused: to be set aside, each with the reason.
        error: why something is to be sent later, or nothing any more.
        is_final: sending makes little sense before somebody has done something.
        is_too_much: the batch as a whole was refused: try a part of it.
    """

    sent: list[Row] = field(default_factory=list)
    later: list[Row] = field(default_factory=list)
    unstamped: list[Row] = field(default_factory=list)
    refused: list[tuple[Row, str]] = field(default_factory=list)
    error: APIError | None = None
    is_final: bool = False
    is_too_much: bool = False

    @property
    def wait_s(self) -> float:
        """For how long the server asked to be left alone."""
        return min(self.error.retry_after or 0.0, LONGEST_WAIT_S) if self.error is not None else 0.0


class _Batch(msgspec.Struct):
    results: list[dict[str, Any]]


def send_batch(transport: SyncTransport, rows: list[Row]) -> Outcome:
    """Send records, once. Whatever happens is an outcome."""
    try:
        response = transport.run(_post(rows))
    except APINetworkError as error:
        return Outcome(later=rows, error=error)
    if response.status in (200, 422) and (results := _read_results(response, len(rows))) is not None:
        return _sort(rows, results)
    refusal = error_of(response.status, response.headers, response.body)
    if isinstance(refusal, APIAuthenticationError | APIPermissionError):
        return Outcome(later=rows, error=refusal, is_final=True)
    if isinstance(refusal, APIValidationError):
        if len(rows) > 1:
            return Outcome(later=rows, error=refusal, is_too_much=True)
        return Outcome(refused=[(rows[0], refusal.detail)])
    return Outcome(later=rows, error=refusal)


def _post(rows: Iterable[Row]) -> Flow[Response]:
    body = b'{"logs":[' + b",".join(map(_record, rows)) + b"]}"
    response = yield Request(method="POST", path="/api/v1/log/batch", body=body)
    assert response is not None  # noqa: S101 - a request is answered
    return response


def _record(row: Row) -> bytes:
    return row.body if row.stamp is None else b'%b,"timestamp":"%b"}' % (row.body[:-1], row.stamp.encode())


def _read_results(response: Response, count: int) -> list[dict[str, Any]] | None:
    try:
        results = msgspec.json.decode(response.body, type=_Batch).results
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return results if len(results) == count else None


def _sort(rows: list[Row], results: list[dict[str, Any]]) -> Outcome:
    outcome = Outcome()
    for row, result in zip(rows, results, strict=True):
        if "log_id" in result:
            outcome.sent.append(row)
            continue
        error = _error_in(result)
        if isinstance(error, APIConflictError | APIRateLimitError | APIServerError):
            outcome.later.append(row)
            outcome.error = error
        elif row.stamp is not None and {each.field for each in error.errors} == {"timestamp"}:
            # This machine's clock is ahead; the server's own time of arrival is the better one.
            outcome.unstamped.append(row)
        else:
            outcome.refused.append((row, error.detail))
    if isinstance(outcome.error, APIQuotaExceededError):
        outcome.error.retry_after = LONGEST_WAIT_S
    return outcome


def _error_in(result: dict[str, Any]) -> APIError:
    problem = result.get("error")
    problem = problem if isinstance(problem, dict) else {}
    status = problem.get("status")
    return problem_error(problem, status if isinstance(status, int) else 500)
