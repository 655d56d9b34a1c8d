"""`POST /api/v1/logs/import`: a stream of records in, a stream of what came of them out."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import msgspec
from litestar.types import Receive, Scope, Send

from services.ingest.accept import Acceptance
from services.ingest.import_logs import Imported, import_logs
from services.ingest.outcome import Accepted
from shared.contracts.keys import Principal
from shared.errors import LLMRingError, QuotaExceededError, UnsupportedMediaTypeError
from shared.event_log.port import Headers
from shared.telemetry.metrics import IDEMPOTENT_REPLAYS, RECORDS_ACCEPTED
from shared.web.asgi import ClientGoneError, describe, find_header, request_id_of
from shared.web.problems import Problem, problem_of

PATH: Final = "/api/v1/logs/import"
NDJSON: Final = "application/x-ndjson"
_encoder = msgspec.json.Encoder()
_log = logging.getLogger(__name__)


class RefusedLine(msgspec.Struct):
    """A record that was refused: the number of its line, or its place in the array, from 1, and why."""

    line: int
    error: Problem


class ImportProgress(msgspec.Struct, omit_defaults=True):
    """How far the import is: what is told here is durable.

    Attributes:
        lines: the last line that was dealt with.
        accepted: records that are durable, replayed ones too.
        replayed: of these, the ones that had been recorded before.
        rejected: records that were refused.
        done: it is the end, and everything was read.
        error: it is the end, and why not everything was read: go on behind `lines`, or begin again.
    """

    lines: int = 0
    accepted: int = 0
    replayed: int = 0
    rejected: int = 0
    done: bool = False
    error: Problem | None = None


class _Telling:
    """The answer: begun with the first thing there is to tell."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self.begun = False
        self.progress = ImportProgress()

    async def tell(self, imported: Imported) -> QuotaExceededError | None:
        """Tell what came of some records; gives the refusal by the quota, if there is one.

        Raises:
            QuotaExceededError: the quota let none of all pass.
        """
        progress = self.progress
        told: list[RefusedLine | ImportProgress] = []
        exceeded = None
        fresh = replayed = 0
        for line, outcome in zip(imported.lines, imported.outcomes, strict=True):
            if isinstance(outcome, Accepted):
                replayed += outcome.replayed
                fresh += not outcome.replayed
            elif isinstance(outcome, QuotaExceededError):
                exceeded = exceeded or (line, outcome)
            else:
                told.append(RefusedLine(line.number, self.problem_of(outcome)))
        progress.accepted += fresh + replayed
        progress.replayed += replayed
        progress.rejected += len(told)
        progress.lines = imported.lines[-1].number if exceeded is None else exceeded[0].number - 1
        RECORDS_ACCEPTED.inc(fresh)
        IDEMPOTENT_REPLAYS.inc(replayed)
        if exceeded is None:
            told.append(progress)
        elif not (self.begun or progress.accepted):
            raise exceeded[1]
        await self.write(told)
        return None if exceeded is None else exceeded[1]

    async def end(self, error: LLMRingError | None = None) -> None:
        """Tell how it ended."""
        self.progress.done = error is None
        self.progress.error = None if error is None else self.problem_of(error)
        await self.write([self.progress])
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def write(self, told: list[RefusedLine | ImportProgress]) -> None:
        """Send lines."""
        if not self.begun:
            self.begun = True
            headers = [(b"content-type", NDJSON.encode())]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        body = _encoder.encode_lines(told)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    def problem_of(self, error: LLMRingError) -> Problem:
        """The problem document of an error, for a line of the answer."""
        return problem_of(error, instance=PATH, request_id=request_id_of(self._scope))


async def answer_import(
    acceptance: Acceptance,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    principal: Principal,
    headers: Headers,
) -> int:
    """Answer one import.

    Raises:
        LLMRingError: nothing was told yet: the answer is a problem document.
    """
    content_type = find_header(scope["headers"], b"content-type")
    if content_type is not None and b"json" not in content_type.partition(b";")[0].lower():
        raise UnsupportedMediaTypeError(f"The body must be {NDJSON}, or a JSON array.")
    telling = _Telling(scope, send)
    exceeded: QuotaExceededError | None = None
    try:
        async with aclosing(import_logs(acceptance, principal, _read_pieces(receive), headers)) as importing:
            async for imported in importing:
                exceeded = await telling.tell(imported)
                if exceeded is not None:
                    break
        await telling.end(exceeded)
    except ClientGoneError:
        raise
    except Exception as error:
        if not telling.begun:
            raise
        if not isinstance(error, LLMRingError):
            _log.exception("unexpected error on %s", describe(scope))
            error = LLMRingError("unexpected")
        await telling.end(error)
    return 200


async def _read_pieces(receive: Receive) -> AsyncGenerator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError("The client closed the connection.")
        more = message.get("more_body", False)
        yield message.get("body", b"")
