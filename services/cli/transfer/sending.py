"""Sends records to a server, and goes on behind the last durable one when something went away."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Final, NamedTuple

import msgspec

from services.cli.transfer.sources import Item, Passed, Source
from services.ingest.routes.import_logs import ImportProgress
from shared.errors import UnavailableError
from shared.web.exchange import Exchange, exchange
from shared.web.problems import Problem, read_problem

_PIECE_BYTES: Final = 128 * 1024
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_QUOTA: Final = "/quota-exceeded"


class _Told(ImportProgress):
    """A line of the answer: of progress or, with `line`, of a record that was refused."""

    line: int = 0


_told = msgspec.json.Decoder(_Told)


class StoppedError(Exception):
    """The import cannot go on; the text says why. What was told is durable."""


class Refused(NamedTuple):
    """A record that was not taken, and why."""

    item: Item
    reason: str


class Count(msgspec.Struct):
    """How far an import is.

    Attributes:
        records: dealt with, in the order of the source.
        place: where the source goes on.
        accepted: of these, durable on the server.
        replayed: of the accepted ones, those that were there before.
        refused: not taken.
    """

    records: int = 0
    place: str = ""
    accepted: int = 0
    replayed: int = 0
    refused: int = 0


class Sender:
    """Sends one source, whatever goes away meanwhile.

    Args:
        url: of the server.
        key: an API key with the scope `log`.
        source: of the records.
        keep_cost: see `adapt`.
        count: where it begins, and how far it is.
        on_refused: told of each record that is not taken.
        on_progress: told of what is durable: the last record that was dealt with.
        on_pause: told why it pauses, and for how many seconds.
        patience_s: without progress for so long it gives up.
    """

    def __init__(
        self,
        url: str,
        key: str,
        source: Source,
        *,
        keep_cost: bool,
        count: Count,
        on_refused: Callable[[Refused], None],
        on_progress: Callable[[Item], None],
        on_pause: Callable[[str, float], None],
        patience_s: float,
    ) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/logs/import"
        self._headers = {"X-API-Key": key, "Content-Type": "application/x-ndjson"}
        self._source = source
        self._keep_cost = keep_cost
        self.count = count
        self._on_refused = on_refused
        self._on_progress = on_progress
        self._on_pause = on_pause
        self._patience_s = patience_s
        self._complete = False
        self._broken: Exception | None = None
        # Of the request under way: what was sent and not told of yet, and how many lines were told of.
        self._sent: deque[Item] = deque()
        self._lines = 0
        self._reasons: dict[int, str] = {}

    async def send(self) -> None:
        """Send everything that is left.

        Raises:
            StoppedError: the server refuses all of it, or is away for too long.
            click.ClickException, OSError: the source cannot be read on.
        """
        clock = asyncio.get_running_loop().time
        pause_s = _FIRST_PAUSE_S
        progress_at = clock()
        while True:
            before = self.count.records
            wait_s: float | None = None
            try:
                wait_s = await self._send_once()
                reason = "the server asks for a pause"
            except UnavailableError as error:
                reason = error.detail
            if self._complete:
                if self._broken is not None:
                    raise self._broken
                return
            if not self._source.can_be_read_again:
                raise StoppedError(f"{self._source.name} cannot be read again: {reason}")
            if self.count.records > before:
                pause_s, progress_at = _FIRST_PAUSE_S, clock()
            if clock() - progress_at > self._patience_s:
                raise StoppedError(f"Nothing could be sent for {self._patience_s:.0f} seconds: {reason}")
            if wait_s is None:
                wait_s = pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            self._on_pause(reason, wait_s)
            await asyncio.sleep(wait_s)

    async def _send_once(self) -> float | None:
        """One request; how long to wait before the next one, where the server says so."""
        self._sent.clear()
        self._reasons.clear()
        self._lines = 0
        body = self._pieces(Passed(self.count.records, self.count.place))
        async with exchange("POST", self._url, headers=self._headers, body=body) as answer:
            if answer.status == 200:
                await self._follow(answer)
                return None
            text = b"".join([line async for line in answer.lines])
            problem = read_problem(text)
            if answer.status in (429, 503) and not problem.type.endswith(_QUOTA):
                return answer.retry_after_s
            raise StoppedError(f"The server answers {answer.status}: {problem.detail}")

    async def _follow(self, answer: Exchange) -> None:
        before = _Told()
        async for line in answer.lines:
            try:
                told = _told.decode(line)
            except msgspec.MsgspecError:
                raise StoppedError(f"{self._url} does not answer as an import does.") from None
            if told.line and told.error is not None:
                self._reasons[told.line] = _reason(told.error)
                continue
            self.count.accepted += told.accepted - before.accepted
            self.count.replayed += told.replayed - before.replayed
            before = told
            self._pass(told.lines)
            if told.error is not None and told.error.status != 503:
                raise StoppedError(told.error.detail)
            self._complete = told.done

    def _pass(self, lines: int) -> None:
        """Count what was told of, and what could not be sent and stands before or right behind it."""
        last: Item | None = None
        while self._sent and (self._sent[0].body is None or self._lines < lines):
            last = self._sent.popleft()
            reason: str | None = last.fault
            if last.body is not None:
                self._lines += 1
                reason = self._reasons.pop(self._lines, None)
            if reason is not None:
                self.count.refused += 1
                self._on_refused(Refused(last, reason))
            self.count.records += 1
            self.count.place = last.place
        if last is not None:
            self._on_progress(last)

    async def _pieces(self, passed: Passed) -> AsyncIterator[bytes]:
        piece: list[bytes] = []
        size = 0
        try:
            async with aclosing(self._source.read(passed, keep_cost=self._keep_cost)) as items:
                async for item in items:
                    self._sent.append(item)
                    if item.body is not None:
                        piece += (item.body, b"\n")
                        size += len(item.body)
                        if size > _PIECE_BYTES:
                            yield b"".join(piece)
                            piece, size = [], 0
        except Exception as error:
            self._broken = error  # what came before it is sent
        if piece:
            yield b"".join(piece)


def _reason(problem: Problem) -> str:
    fields = "; ".join(f"{each.field}: {each.message}" for each in problem.errors)
    return fields or problem.detail
