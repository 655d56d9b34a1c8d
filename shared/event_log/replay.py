"""Reading `usage.dead`, and appending what is in it to where it came from once more.

What was replayed is noted in `usage.dead` itself, by a record without a value that names the same source. So
the note has the same life as the letter, whatever database there is.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Final, NamedTuple

from shared.contracts.topics import USAGE_DEAD
from shared.errors import NotFoundError, TooLargeError
from shared.event_log.dead_letter import (
    CUT_HEADER,
    OFFSET_HEADER,
    PARTITION_HEADER,
    REASON_HEADER,
    TOPIC_HEADER,
)
from shared.event_log.port import EventLog, Headers, Position, Record, Slice, StoredRecord

REPLAYED_HEADER: Final = "dead-letter-replayed"
REPLAYED_FROM_HEADER: Final = "replayed-from"
REPLAY_COUNT_HEADER: Final = "replay-count"

_PREFIX: Final = "dead-letter-"


class Source(NamedTuple):
    """Where a dead letter was before: the same source twice is the same record."""

    topic: str
    partition: int
    offset: int


class DeadLetter(NamedTuple):
    """One record of `usage.dead`.

    Attributes:
        source: where it was before; None where somebody else wrote it, without the headers.
        reason: why it could not be processed.
        size: of the original value, in bytes.
        replays: how often its original had been replayed before it came here.
        is_replayed: it was replayed since.
        is_cut: its bytes are not all here; a replay takes them from the source.
        record: as it stands in `usage.dead`.
    """

    source: Source | None
    reason: str
    size: int
    replays: int
    is_replayed: bool
    is_cut: bool
    record: StoredRecord


class NotReplayableError(Exception):
    """A dead letter cannot go back to where it came from; the text says why."""


@asynccontextmanager
async def open_dead_letters(log: EventLog) -> AsyncIterator[AsyncIterator[DeadLetter]]:
    """The dead letters that there are now, oldest first, each source once however often it was set aside.

    Raises:
        UnavailableError: the log is away.
        NotFoundError: there is no topic `usage.dead`.
    """
    begins, ends = await log.begins(USAGE_DEAD), await log.ends(USAGE_DEAD)
    replayed: set[Source] = set()
    async with log.read_range(USAGE_DEAD, begins, ends) as slices:
        async for part in slices:
            replayed.update(_noted(part))
    async with (
        log.read_range(USAGE_DEAD, begins, ends) as slices,
        aclosing(_letters(slices, replayed)) as letters,
    ):
        yield letters


async def replay(log: EventLog, letter: DeadLetter) -> Position:
    """Append a dead letter's original to its topic once more, and note that this was done.

    It keeps its key, its bytes and its own headers, and says where it is replayed from and how often that
    was done. If it is poison still, it comes back as a new dead letter that tells the same. A crash between
    the two appends leaves it without a note, and the next replay repeats it: consumers count a record once.

    Returns:
        Where the original is now.

    Raises:
        NotReplayableError: see there.
        UnavailableError: it is not appended, or not noted.
    """
    if letter.source is None:
        raise NotReplayableError("it does not say where it came from")
    original = await _find_original(log, letter, letter.source)
    place = f"{USAGE_DEAD}/{letter.record.partition}/{letter.record.offset}"
    again = original._replace(
        headers=(
            *original.headers,
            (REPLAYED_FROM_HEADER, place.encode()),
            (REPLAY_COUNT_HEADER, str(letter.replays + 1).encode()),
        )
    )
    try:
        (position,) = await log.append(letter.source.topic, [again])
    except (NotFoundError, TooLargeError) as error:
        raise NotReplayableError(error.detail) from error
    note: Headers = (
        (REPLAYED_HEADER, b"true"),
        (TOPIC_HEADER, letter.source.topic.encode()),
        (PARTITION_HEADER, str(letter.source.partition).encode()),
        (OFFSET_HEADER, str(letter.source.offset).encode()),
    )
    await log.append(USAGE_DEAD, [Record(letter.record.key, b"", note)])
    return position


async def _letters(
    slices: AsyncIterator[Slice], replayed: Collection[Source]
) -> AsyncGenerator[DeadLetter, None]:
    seen: set[Source] = set()
    async for part in slices:
        for record in part.records:
            headers = dict(record.headers)
            source = _source(headers)
            if REPLAYED_HEADER in headers or source in seen:
                continue
            if source is not None:
                seen.add(source)
            yield DeadLetter(
                source=source,
                reason=headers.get(REASON_HEADER, b"").decode(errors="replace"),
                size=_number(headers.get(CUT_HEADER), default=len(record.value or b"")),
                replays=_number(headers.get(REPLAY_COUNT_HEADER), default=0),
                is_replayed=source in replayed,
                is_cut=CUT_HEADER in headers,
                record=record,
            )


def _noted(part: Slice) -> Iterable[Source]:
    for record in part.records:
        headers = dict(record.headers)
        source = _source(headers) if REPLAYED_HEADER in headers else None
        if source is not None:
            yield source


def _source(headers: dict[str, bytes]) -> Source | None:
    try:
        return Source(
            headers[TOPIC_HEADER].decode(), int(headers[PARTITION_HEADER]), int(headers[OFFSET_HEADER])
        )
    except (KeyError, ValueError):
        return None


def _number(text: bytes | None, default: int) -> int:
    try:
        return default if text is None else int(text)
    except ValueError:
        return default


async def _find_original(log: EventLog, letter: DeadLetter, source: Source) -> Record:
    record = letter.record
    if letter.is_cut:
        start = {source.partition: source.offset}
        end = {source.partition: source.offset + 1}
        found = []
        try:
            async with log.read_range(source.topic, start, end) as slices:
                found = [each async for part in slices for each in part.records]
        except NotFoundError as error:
            raise NotReplayableError(error.detail) from error
        if not found:
            raise NotReplayableError(f"its bytes are no longer at {'/'.join(map(str, source))}")
        (record,) = found
    kept = tuple(
        (name, value)
        for name, value in record.headers
        if not name.startswith(_PREFIX) and name not in (REPLAYED_FROM_HEADER, REPLAY_COUNT_HEADER)
    )
    return Record(record.key, record.value or b"", kept)
