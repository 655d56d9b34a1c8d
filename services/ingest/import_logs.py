"""Import any number of records: read, accept and tell, some hundreds at a time, with flat memory.

While some records are being made durable, the next ones are read. What came of them is told in their order,
and only once it is durable, so whoever is cut off goes on behind the last line that was told, or begins
again: a record that comes once more is the same record.
"""

import asyncio
from asyncio import FIRST_COMPLETED
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from services.ingest.accept import Acceptance
from services.ingest.lines import Line, Splitter
from services.ingest.outcome import Accepted
from shared.contracts.keys import Principal
from shared.errors import LLMRingError, MalformedRequestError
from shared.event_log.port import Headers

RECORDS_AT_ONCE: Final = 500
"""More of them in one statement cost more each: beyond half a megabyte the driver's buffer grows dearly."""
BYTES_AT_ONCE: Final = 1024 * 1024
_SLICES_AT_ONCE: Final = 8


class Imported(NamedTuple):
    """What came of some records that follow one another."""

    lines: Sequence[Line]
    outcomes: Sequence[Accepted | LLMRingError]


async def import_logs(
    acceptance: Acceptance, principal: Principal, pieces: AsyncIterator[bytes], headers: Headers
) -> AsyncGenerator[Imported]:
    """Accept a stream of records, each on its own; gives what came of them, in order, as it is durable.

    Args:
        acceptance: takes them in.
        principal: whose they are.
        pieces: the stream, in one of the forms that `Splitter` reads.
        headers: that travel with the events.

    Raises:
        MalformedRequestError: the stream cannot be split from here on; what came before was told.
        UnavailableError: the event log is away; what was told is durable, of the rest nobody knows.
    """
    # A quota lets the first ones pass: none may overtake another.
    at_once = _SLICES_AT_ONCE if principal.logs_per_month is None else 1
    slices = _slices(pieces)
    reading: asyncio.Task[list[Line] | None] | None = None
    under_way: deque[tuple[list[Line], asyncio.Task[list[Accepted | LLMRingError]]]] = deque()
    ended = False
    broken: LLMRingError | None = None
    try:
        while True:
            if reading is None and not ended and len(under_way) < at_once:
                reading = asyncio.create_task(_read(slices))
            waited_for = [task for _, task in islice(under_way, 1)]
            if not waited_for and reading is None:
                break
            await asyncio.wait([*waited_for, *([reading] if reading else [])], return_when=FIRST_COMPLETED)
            if reading is not None and reading.done():
                try:
                    lines = reading.result()
                except LLMRingError as error:
                    lines, broken = None, error
                reading, ended = None, lines is None
                if lines is not None:
                    accepting = acceptance.accept_lines(principal, [line.body for line in lines], headers)
                    under_way.append((lines, asyncio.create_task(accepting)))
            if under_way and under_way[0][1].done():
                lines, task = under_way.popleft()
                yield Imported(lines, task.result())
        if broken is not None:
            raise broken
    finally:
        left = [*(task for _, task in under_way), *([reading] if reading else [])]
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _read(slices: AsyncIterator[list[Line]]) -> list[Line] | None:
    return await anext(slices, None)


async def _slices(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[Line]]:
    splitter = Splitter()
    waiting: list[Line] = []
    size = 0
    broken: LLMRingError | None = None
    more = True
    while more and broken is None:
        piece = await anext(pieces, None)
        more = piece is not None
        try:
            lines = splitter.feed(piece or b"", is_last=not more)
        except MalformedRequestError as error:
            lines, broken = [], error
        for line in lines:
            waiting.append(line)
            size += len(line.body)
            if len(waiting) >= RECORDS_AT_ONCE or size >= BYTES_AT_ONCE:
                yield waiting
                waiting, size = [], 0
    if waiting:
        yield waiting
    if broken is not None:
        raise broken
