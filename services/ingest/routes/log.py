"""`POST /api/v1/log`, `/log/batch` and `/logs/import`: the fast lanes.

They are bare ASGI applications beside the Litestar one: a handler of Litestar's, with its parsing and
serialization, costs about four times as much. The handlers that describe them in the OpenAPI document never
run.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter, JSONBody
from litestar.types import Receive, Scope, Send

from services.ingest.accept import Acceptance
from services.ingest.outcome import Accepted
from services.ingest.routes.documents import ImportOperation
from services.ingest.routes.import_logs import answer_import
from shared.contracts.keys import SCOPE_LOG, Principal
from shared.contracts.usage import (
    MAX_BATCH_BODY_BYTES,
    MAX_LOG_BODY_BYTES,
    NULL,
    AnswerLine,
    CostStatus,
    LogAnswer,
    UsageLog,
    UsdNumberOrNull,
)
from shared.errors import InvalidFieldError, LLMRingError, MethodNotAllowedError, QuotaExceededError
from shared.event_log.port import Headers
from shared.telemetry.metrics import IDEMPOTENT_REPLAYS, RECORDS_ACCEPTED
from shared.web.asgi import (
    ClientGoneError,
    describe,
    find_header,
    find_only_header,
    read_body,
    request_id_of,
    send_answer,
)
from shared.web.observed import Lane
from shared.web.principal import PRINCIPAL_HEADER, PrincipalVerifier, require_scope
from shared.web.problems import PROBLEM_JSON, Problem, problem_headers, problem_of, send_problem

_REPLAYED = [(b"idempotent-replayed", b"true")]
_encoder = msgspec.json.Encoder()
_log = logging.getLogger(__name__)

Answering = Callable[[Scope, Receive, Send, Principal], Awaitable[int]]


class LogBatch(msgspec.Struct):
    """`POST /api/v1/log/batch`: up to a thousand records, each accepted or refused on its own."""

    logs: list[UsageLog]


class BatchResult(msgspec.Struct, omit_defaults=True):
    """What came of one record: the fields of an answer, or its place from 0 and the problem."""

    log_id: UUID | None = None
    cost: UsdNumberOrNull = msgspec.field(default_factory=lambda: NULL)
    timestamp: str | None = None
    cost_status: CostStatus | None = None
    registry_version: str | None = None
    cost_breakdown: list[AnswerLine] = []
    index: int | None = None
    error: Problem | None = None


class BatchAnswer(msgspec.Struct):
    """What came of a batch, record by record in their order."""

    accepted: int
    rejected: int
    results: list[BatchResult]


def build_fast_lanes(
    acceptance: Acceptance,
    principals: PrincipalVerifier,
    bulk: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> dict[str, Lane]:
    """What takes records in, by path; `bulk` is entered while records are imported."""

    async def answer_log(scope: Scope, receive: Receive, send: Send, principal: Principal) -> int:
        body = await read_body(scope, receive, MAX_LOG_BODY_BYTES)
        key = find_only_header(scope["headers"], b"idempotency-key")
        accepted = await acceptance.accept(principal, body, key, _event_headers(scope))
        (IDEMPOTENT_REPLAYS if accepted.replayed else RECORDS_ACCEPTED).inc()
        return await send_answer(send, 200, accepted.answer, _REPLAYED if accepted.replayed else ())

    async def answer_batch(scope: Scope, receive: Receive, send: Send, principal: Principal) -> int:
        body = await read_body(scope, receive, MAX_BATCH_BODY_BYTES)
        outcomes = await acceptance.accept_batch(principal, body, _event_headers(scope))
        accepted = sum(isinstance(outcome, Accepted) for outcome in outcomes)
        replayed = sum(isinstance(outcome, Accepted) and outcome.replayed for outcome in outcomes)
        RECORDS_ACCEPTED.inc(accepted - replayed)
        IDEMPOTENT_REPLAYS.inc(replayed)
        results = [
            msgspec.Raw(outcome.answer)
            if isinstance(outcome, Accepted)
            else {"index": index, "error": problem_of(outcome, instance=scope["path"], request_id="")}
            for index, outcome in enumerate(outcomes)
        ]
        summary = {"accepted": accepted, "rejected": len(outcomes) - accepted}
        if accepted:
            return await send_answer(send, 200, _encoder.encode({**summary, "results": results}))
        exceeded = next((each for each in outcomes if isinstance(each, QuotaExceededError)), None)
        refused = exceeded or InvalidFieldError("None of the records of the batch was accepted.")
        problem = problem_of(refused, instance=scope["path"], request_id=request_id_of(scope))
        document = {**msgspec.to_builtins(problem), **summary, "results": results}
        return await send_answer(
            send,
            problem.status,
            _encoder.encode(document),
            problem_headers(refused),
            content_type=PROBLEM_JSON,
        )

    async def answer_stream(scope: Scope, receive: Receive, send: Send, principal: Principal) -> int:
        with bulk():
            return await answer_import(
                acceptance, scope, receive, send, principal=principal, headers=_event_headers(scope)
            )

    return {
        "/api/v1/log": _lane(principals, answer_log),
        "/api/v1/log/batch": _lane(principals, answer_batch),
        "/api/v1/logs/import": _lane(principals, answer_stream),
    }


def _lane(principals: PrincipalVerifier, answer: Answering) -> Lane:
    async def run(scope: Scope, receive: Receive, send: Send) -> int:
        try:
            if scope["method"] != "POST":  # type: ignore[typeddict-item]  # a WebSocket has no method
                refused = MethodNotAllowedError("Send a POST.")
                return await send_problem(scope, send, refused, [(b"allow", b"POST")])
            principal = principals.verify(find_header(scope["headers"], PRINCIPAL_HEADER))
            require_scope(principal, SCOPE_LOG)
            return await answer(scope, receive, send, principal)
        except ClientGoneError:
            return 0
        except LLMRingError as error:
            return await send_problem(scope, send, error)
        except Exception as error:
            _log.exception("unexpected error on %s", describe(scope))
            return await send_problem(scope, send, LLMRingError(str(error)))

    return run


def _event_headers(scope: Scope) -> Headers:
    traceparent = find_header(scope["headers"], b"traceparent")
    return () if traceparent is None else (("traceparent", traceparent),)


def build_documented() -> list[HTTPRouteHandler]:
    """Handlers that describe the fast lanes in the OpenAPI document, and never run."""

    @post(
        "/api/v1/log",
        status_code=200,
        summary="Record one call to an LLM",
        tags=["usage"],
        sync_to_thread=False,
    )
    def log(
        data: JSONBody[UsageLog],
        idempotency_key: Annotated[
            str | None, HeaderParameter(name="Idempotency-Key", max_length=255)
        ] = None,
    ) -> LogAnswer:
        raise AssertionError((data, idempotency_key))

    @post(
        "/api/v1/log/batch",
        status_code=200,
        summary="Record up to a thousand calls",
        tags=["usage"],
        sync_to_thread=False,
    )
    def log_batch(data: JSONBody[LogBatch]) -> BatchAnswer:
        raise AssertionError(data)

    @post(
        "/api/v1/logs/import",
        status_code=200,
        operation_class=ImportOperation,
        summary="Record any number of calls, from a stream",
        tags=["usage"],
        sync_to_thread=False,
    )
    def logs_import(data: JSONBody[list[UsageLog]]) -> None:
        raise AssertionError(data)

    return [log, log_batch, logs_import]
