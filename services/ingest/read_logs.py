"""Usage records of one account, read back: a page, one, or all of them as a stream."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from services.ingest.cursor import decode_cursor, encode_cursor
from services.ingest.selection import LogQuery
from services.ingest.store.entries import Cursor, find_entry, list_entries
from shared.cells import guard_cell
from shared.contracts.records import CSV_COLUMNS, FREE_TEXT, LogEntry
from shared.contracts.usage import NULL
from shared.postgres import Database

Format = Literal["csv", "ndjson"]

_STREAM_PAGE = 1000
_encoder = msgspec.json.Encoder()


class Page(NamedTuple):
    """Some records, and where the next ones start if there are more."""

    entries: list[LogEntry]
    next_cursor: str | None


async def read_page(
    database: Database, query: LogQuery, *, limit: int, offset: int, cursor: str | None
) -> Page:
    """A page of records, newest first.

    Raises:
        InvalidFieldError: the cursor is not one of ours.
        UnavailableError: the database is away.
    """
    after = None if cursor is None else _parse_cursor(cursor)
    async with database.connection() as connection:
        entries = await list_entries(connection, query, after=after, limit=limit + 1, offset=offset)
    more = len(entries) > limit
    entries = entries[:limit]
    return Page(entries, _cursor_of(entries[-1]) if more else None)


async def find_log(database: Database, account_id: UUID, log_id: UUID) -> LogEntry | None:
    """One record of an account, or None."""
    async with database.connection() as connection:
        return await find_entry(connection, account_id, log_id)


async def stream_logs(database: Database, query: LogQuery, form: Format) -> AsyncIterator[bytes]:
    """All the records asked for, newest first, in pieces of a bounded size.

    Raises:
        UnavailableError: the database is away, or went away on the way.
    """
    encode = _csv_entry if form == "csv" else _ndjson_entry
    head = _csv_line(list(CSV_COLUMNS)) if form == "csv" else b""
    after: Cursor | None = None
    while True:
        async with database.connection() as connection:
            entries = await list_entries(connection, query, after=after, limit=_STREAM_PAGE)
        # The head goes with the first page, so that nothing is out before the database has answered.
        yield head + b"".join(map(encode, entries))
        if len(entries) < _STREAM_PAGE:
            return
        head, after = b"", _place_of(entries[-1])


def _ndjson_entry(entry: LogEntry) -> bytes:
    return _encoder.encode(entry) + b"\n"


def _csv_entry(entry: LogEntry) -> bytes:
    return _csv_line([_csv_value(name, getattr(entry, name)) for name in CSV_COLUMNS])


def _csv_value(name: str, value: object) -> str:
    if value is None or value == NULL:
        return ""
    if name in FREE_TEXT:
        return guard_cell(str(value))
    return bytes(value).decode() if isinstance(value, msgspec.Raw) else str(value)


def _csv_line(values: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(values)  # RFC 4180: quoted where needed, lines end CR LF
    return line.getvalue().encode()


def _place_of(entry: LogEntry) -> Cursor:
    return Cursor(datetime.fromisoformat(entry.logged_at), entry.id)


def _cursor_of(entry: LogEntry) -> str:
    place = _place_of(entry)
    return encode_cursor(place.occurred_at, [place.log_id])


def _parse_cursor(text: str) -> Cursor:
    occurred_at, (log_id,) = decode_cursor(text, 1)
    return Cursor(occurred_at, log_id)
