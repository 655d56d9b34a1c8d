"""Where records to import come from: files of JSON or CSV, and databases of llmring-server."""

import contextlib
import csv
import hashlib
import io
import itertools
import re
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import click
import msgspec

from services.cli.transfer.adapt import NotARecordError, Record, adapt, adapt_fields, adapt_row
from services.ingest.lines import Splitter
from shared.errors import MalformedRequestError, UnavailableError
from shared.postgres import open_connection

_PIECE_BYTES: Final = 256 * 1024
_ROWS: Final = 2000
_SCHEMA: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Item(NamedTuple):
    """One record.

    Attributes:
        number: its line or row, from 1.
        body: JSON to send; None where it cannot even be read.
        fault: why it cannot.
        done: how much of the source has been read with it, in the source's own unit.
        place: where the source goes on behind it; empty where records are counted.
    """

    number: int
    body: bytes | None
    fault: str
    done: int
    place: str = ""


class Passed(NamedTuple):
    """How far a source was read before.

    Attributes:
        records: that were dealt with.
        place: of the last of them.
    """

    records: int = 0
    place: str = ""


class Source(Protocol):
    """Gives records in one order, from the beginning each time it is asked."""

    name: str
    identity: str
    total: int | None

    @property
    def can_be_read_again(self) -> bool:
        """Whether `read` begins at the beginning once more."""
        ...

    def read(self, passed: Passed, *, keep_cost: bool) -> AsyncGenerator[Item]:
        """The records behind those that were passed.

        Raises:
            click.ClickException: it cannot be read on.
        """
        ...


class FileSource:
    """A file; `-` is the standard input.

    Attributes:
        identity: changes with the file's content.
        total: its bytes.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        if not self.can_be_read_again:
            self.total, self.identity = None, "-"
            return
        state = path.stat()
        self.total = state.st_size
        self.identity = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"

    @property
    def can_be_read_again(self) -> bool:
        """See `Source`."""
        return self.name != "-"

    async def read(self, passed: Passed, *, keep_cost: bool) -> AsyncGenerator[Item]:
        """See `Source`."""
        opened = self._path.open("rb") if self.can_be_read_again else contextlib.nullcontext(sys.stdin.buffer)
        with opened as file:
            read = _read_csv if self._is_csv(file) else _read_json
            for item in read(file, keep_cost, passed.records):
                yield item

    def _is_csv(self, file: BinaryIO) -> bool:
        if self._path.suffix.lower() == ".csv":
            return True
        if not self.can_be_read_again or self._path.suffix:
            return False
        begins = file.read(16).removeprefix(b"\xef\xbb\xbf").lstrip()
        file.seek(0)
        return not begins.startswith((b"[", b"{"))


def _read_json(file: BinaryIO, keep_cost: bool, passed: int) -> Iterator[Item]:
    splitter = Splitter()
    done = 0
    is_last = False
    while not is_last:
        piece = file.read(_PIECE_BYTES)
        done += len(piece)
        is_last = not piece
        try:
            lines = splitter.feed(piece, is_last=is_last)
        except MalformedRequestError as error:
            raise click.ClickException(f"{file.name}: {error.detail}") from error
        left = lines[passed:]  # those before were dealt with: not even looked at
        passed = max(0, passed - len(lines))
        for line in left:
            try:
                yield Item(line.number, adapt(line.body, keep_cost=keep_cost), "", done)
            except NotARecordError as error:
                yield Item(line.number, None, str(error), done)


def _read_csv(file: BinaryIO, keep_cost: bool, passed: int) -> Iterator[Item]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    rows = csv.DictReader(text)
    try:
        for number, row in itertools.islice(enumerate(rows, start=1), passed, None):
            if None in row or None in row.values():
                yield Item(number, None, "has not as many fields as the first line", file.tell())
                continue
            try:
                yield Item(number, adapt_row(row, keep_cost=keep_cost), "", file.tell())
            except NotARecordError as error:
                yield Item(number, None, str(error), file.tell())
    except (csv.Error, UnicodeDecodeError) as error:
        raise click.ClickException(f"{file.name}: {error}") from error
    finally:
        text.detach()


class ServerDatabase:
    """The records of an llmring-server, read from its database without changing anything.

    Attributes:
        total: its records.
    """

    def __init__(self, url: str, schema: str, project: str | None) -> None:
        if not _SCHEMA.fullmatch(schema):
            raise click.ClickException(f"{schema!r} is no name of a schema.")
        parts = urlsplit(url)
        # Without user, password and parameters, of which one may be a password too.
        self.name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self.identity = f"{self.name} {short_name(url)} {schema} {project or ''}"
        self.total: int | None = None
        self._url = url
        self._table = f'"{schema}".usage_logs'
        self._project = project
        self.can_be_read_again = True

    async def read(self, passed: Passed, *, keep_cost: bool) -> AsyncGenerator[Item]:
        """See `Source`. All of it is of one moment."""
        try:
            async with aclosing(self._read(passed, keep_cost=keep_cost)) as items:
                async for item in items:
                    yield item
        except UnavailableError as error:
            raise click.ClickException(
                f"{self.name}: {error.detail} {error.__cause__ or ''}".strip()
            ) from error

    async def _read(self, passed: Passed, *, keep_cost: bool) -> AsyncGenerator[Item]:
        connection = await open_connection(
            self._url,
            application_name="llmring-api usage import",
            settings={
                "default_transaction_read_only": "on",
                "default_transaction_isolation": "repeatable read",
            },
        )
        # The table's name was checked above; a parameter cannot be one.
        of_project = "($1::text IS NULL OR api_key_id = $1)"
        count = f"SELECT count(*) FROM {self._table} WHERE {of_project}"  # noqa: S608
        rows = f"""
            SELECT created_at::text || ' ' || id AS place, to_jsonb(logs)::text AS record
            FROM {self._table} AS logs
            WHERE {of_project}
              AND ($2::text IS NULL OR (created_at, id) > ($2::text::timestamptz, $3::text::uuid))
            ORDER BY created_at, id
        """  # noqa: S608
        after = passed.place.rsplit(" ", 1) if passed.place else (None, None)
        try:
            async with connection.transaction():
                self.total = await connection.fetchval(count, self._project)
                number = passed.records
                cursor = await connection.cursor(rows, self._project, *after)
                while found := await cursor.fetch(_ROWS):
                    for row in found:
                        number += 1
                        record = msgspec.json.decode(row["record"].encode(), type=dict[str, msgspec.Raw])
                        yield _item(record, keep_cost, number, row["place"])
        finally:
            connection.terminate()


def _item(record: Record, keep_cost: bool, number: int, place: str) -> Item:
    try:
        return Item(number, adapt_fields(record, keep_cost=keep_cost), "", number, place)
    except NotARecordError as error:
        return Item(number, None, str(error), number, place)


def open_source(name: str, schema: str, project: str | None) -> FileSource | ServerDatabase:
    """A file, or a database where `name` is a URL of Postgres.

    Raises:
        click.ClickException: there is no such file.
    """
    if name.startswith(("postgres://", "postgresql://")):
        return ServerDatabase(name, schema, project)
    path = Path(name)
    if name != "-" and not path.is_file():
        raise click.ClickException(f"There is no file {name}.")
    if path.suffix.lower() == ".parquet":
        raise click.ClickException("Parquet cannot be imported: export as CSV, or as lines of JSON.")
    return FileSource(path)


def short_name(identity: str) -> str:
    """A short name for what is kept beside an import that has no file of its own."""
    return hashlib.sha256(identity.encode()).hexdigest()[:12]
