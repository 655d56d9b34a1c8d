"""`llmring-api usage import`: records of a file, or of another server's database, into a server."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from services.cli.transfer.alone import hold_source
from services.cli.transfer.sending import Count, Refused, Sender, StoppedError
from services.cli.transfer.sources import FileSource, Item, ServerDatabase, open_source, short_name
from services.cli.transfer.target import target_options

_SAVE_EVERY: Final = 5_000
_encoder = msgspec.json.Encoder()


class State(msgspec.Struct):
    """How far an import was, for the one that goes on with it.

    Attributes:
        source: what the records are from; another file of the same name is another source.
        target: server, account and options, of which the key is no more than a digest.
        count: what was dealt with.
    """

    source: str
    target: str
    count: Count


@click.command("import")
@click.argument("source")
@target_options
@click.option("--schema", default="llmring", show_default=True, help="of an llmring-server's database")
@click.option("--project", help="of an llmring-server's database: only records of this API key")
@click.option("--recalculate", is_flag=True, help="calculate costs anew instead of keeping those given")
@click.option("--refused", type=click.Path(dir_okay=False, path_type=Path), help="file for refused records")
@click.option("--from-start", is_flag=True, help="do not go on where an earlier import was interrupted")
@click.option(
    "--patience", type=click.IntRange(min=1), default=600, show_default=True, help="seconds without progress"
)
def import_usage(
    source: str,
    url: str,
    key: str,
    *,
    schema: str,
    project: str | None,
    recalculate: bool,
    refused: Path | None,
    from_start: bool,
    patience: int,
) -> None:
    """Send the records of SOURCE to a server; none counts twice, however often it is run.

    SOURCE is a file of JSON, of one JSON record to a line, or of CSV with names in its first line; - is
    standard input of JSON. What `usage export` or an llmring-server's `GET /api/v1/logs` gave is understood
    too, and so is the URL of an llmring-server's database, postgresql://..., which is only read.

    It goes on where it was interrupted, and waits for a server that is away. Records that are refused are
    written to a file, with the reason. Exits with 1 if there are any, if it had to stop, or if another import
    of SOURCE is running.
    """
    opened = open_source(source, schema, project)
    beside = Path(source) if isinstance(opened, FileSource) and source != "-" else None
    stem = str(beside) if beside else f"llmring-import-{short_name(opened.identity)}"
    journal = Path(f"{stem}.import-state")
    refusals = refused or Path(f"{stem}.refused.ndjson")
    if beside is not None and refusals.exists() and refusals.samefile(beside):
        raise click.UsageError("--refused must be another file than SOURCE.")
    target = f"{url} {short_name(key)} {'recalculated' if recalculate else 'as given'}"
    with hold_source(Path(f"{stem}.import-lock"), opened.name) if source != "-" else contextlib.nullcontext():
        state = None if from_start else _find_state(journal, opened.identity, target)
        if state is None:
            state = State(opened.identity, target, Count())
            if refusals.is_file():
                refusals.unlink()
        elif state.count.records:
            click.echo(f"Going on behind record {state.count.records}.", err=True)
        try:
            asyncio.run(
                _run(
                    opened,
                    state,
                    url=url,
                    key=key,
                    journal=journal,
                    refusals=refusals,
                    keep_cost=not recalculate,
                    patience_s=patience,
                )
            )
        except OSError as error:
            raise click.ClickException(f"{error.strerror}: {error.filename or source}") from error
        except StoppedError as error:
            _report(state.count, refusals)
            raise click.ClickException(f"{error} Run it again to go on.") from error
        journal.unlink(missing_ok=True)
        _report(state.count, refusals)
        if state.count.refused:
            sys.exit(1)


async def _run(
    source: FileSource | ServerDatabase,
    state: State,
    *,
    url: str,
    key: str,
    journal: Path,
    refusals: Path,
    keep_cost: bool,
    patience_s: float,
) -> None:
    saved = state.count.records
    with _bar(source) as bar, contextlib.ExitStack() as files:
        writing = None

        def note_refused(refused: Refused) -> None:
            nonlocal writing
            if writing is None:
                writing = files.enter_context(refusals.open("ab"))
            body = refused.item.body
            record = (
                None
                if body is None
                else msgspec.Raw(body)
                if _is_json(body)
                else body.decode("utf-8", "replace")
            )
            writing.write(
                _encoder.encode({"number": refused.item.number, "reason": refused.reason, "record": record})
            )
            writing.write(b"\n")

        def note_progress(last: Item) -> None:
            nonlocal saved
            bar.update(bar.task_ids[0], total=source.total, completed=last.done, records=state.count.records)
            if state.count.records - saved >= _SAVE_EVERY:
                save()

        def save() -> None:
            nonlocal saved
            if writing is not None:
                writing.flush()
            saved = state.count.records
            if source.can_be_read_again:
                _write(journal, _encoder.encode(state))

        sender = Sender(
            url,
            key,
            source,
            keep_cost=keep_cost,
            count=state.count,
            on_refused=note_refused,
            on_progress=note_progress,
            on_pause=lambda reason, seconds: bar.console.print(f"{reason} Again in {seconds:.1f} s."),
            patience_s=patience_s,
        )
        try:
            await sender.send()
        finally:
            save()


@contextlib.contextmanager
def _bar(source: FileSource | ServerDatabase) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=False),
        TextColumn("{task.fields[records]:,} records"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        bar.add_task(Path(source.name).name, total=source.total, records=0)
        yield bar


def _find_state(journal: Path, source: str, target: str) -> State | None:
    try:
        state = msgspec.json.decode(journal.read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):
        return None
    return state if (state.source, state.target) == (source, target) else None


def _write(path: Path, body: bytes) -> None:
    """Replace a file whole: whoever is killed leaves the old one or the new one."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(body)
    beside.replace(path)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def _report(count: Count, refusals: Path) -> None:
    click.echo(
        f"{count.records} records: {count.accepted - count.replayed} new, {count.replayed} were there, "
        f"{count.refused} refused" + (f", see {refusals}." if count.refused else ".")
    )
