"""`llmring-api usage export`: an account's records into a file."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import click
from rich.console import Console

from services.cli.transfer.parquet import open_parquet
from services.cli.transfer.target import target_options
from shared.errors import UnavailableError
from shared.web.exchange import exchange
from shared.web.problems import read_problem

_LINES_AT_ONCE: Final = 10_000
_FORMATS: Final = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet"}

Write = Callable[[Sequence[bytes]], None]


@click.command("export")
@target_options
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="file; standard output")
@click.option("--format", "form", type=click.Choice(["csv", "ndjson", "parquet"]), help="by the file's name")
@click.option("--start-date", help="first day, YYYY-MM-DD, or an instant")
@click.option("--end-date", help="last day, or an instant")
@click.option("--timezone", help="in which days are meant [default: UTC]")
@click.option("--origin", help="only of this origin")
@click.option("--model", help="only of this model")
@click.option("--provider", help="only of this provider")
@click.option("--alias", help="only of this alias")
def export_usage(url: str, key: str, *, output: Path | None, form: str | None, **filters: str | None) -> None:
    """Write the account's records, newest first, as CSV, as lines of JSON, or as Parquet.

    Parquet needs pyarrow: pip install 'llmring-api[parquet]'. A file appears once it is whole.
    """
    if form is None:
        form = "ndjson" if output is None else _FORMATS.get(output.suffix.lower())
    if form is None:
        raise click.UsageError("--format is required where the file's name does not tell it.")
    if form == "parquet" and output is None:
        raise click.UsageError("--output is required: Parquet cannot be streamed.")
    asked = {name: value for name, value in filters.items() if value}
    asked["format"] = "csv" if form == "csv" else "ndjson"
    target = f"{url.rstrip('/')}/api/v1/logs?{urlencode(asked)}"
    try:
        count = asyncio.run(_export(target, key, output, form))
    except UnavailableError as error:
        raise click.ClickException(error.detail) from error
    except OSError as error:
        raise click.ClickException(f"{error.strerror}: {error.filename or output}") from error
    if output is not None:
        click.echo(f"{count} records in {output}.")


async def _export(target: str, key: str, output: Path | None, form: str) -> int:
    count = 0
    is_quoted = False
    console = Console(stderr=True)
    with _open(output, form) as write, console.status("") as status:
        async for lines in _read(target, key, "text/csv" if form == "csv" else "application/x-ndjson"):
            write(lines)
            for line in lines:
                count += not is_quoted  # within quotes, a line of CSV goes on
                is_quoted ^= form == "csv" and line.count(b'"') % 2 == 1
            if output is not None:
                status.update(f"{count:,} records")
    return count - (form == "csv" and count > 0)


async def _read(target: str, key: str, media_type: str) -> AsyncIterator[list[bytes]]:
    async with exchange("GET", target, headers={"X-API-Key": key}) as answer:
        if answer.status != 200:
            problem = read_problem(b"".join([line async for line in answer.lines]))
            raise click.ClickException(f"The server answers {answer.status}: {problem.detail}")
        if answer.media_type != media_type:
            raise click.ClickException(f"{target} does not answer with records.")
        lines: list[bytes] = []
        async for line in answer.lines:
            lines.append(line)
            if len(lines) >= _LINES_AT_ONCE:
                yield lines
                lines = []
        if lines:
            yield lines


@contextlib.contextmanager
def _open(output: Path | None, form: str) -> Iterator[Write]:
    """Where the lines go; a file takes its name when it is whole."""
    if output is None:
        yield sys.stdout.buffer.writelines
        sys.stdout.buffer.flush()
        return
    # What is no file, such as a device, is written to; it must not be replaced by one.
    beside = output if output.exists() and not output.is_file() else output.with_name(f"{output.name}.part")
    try:
        if form == "parquet":
            with open_parquet(beside) as rows:
                yield rows.write
        else:
            with beside.open("wb") as file:
                yield file.writelines
        if beside != output:
            beside.replace(output)
    finally:
        if beside != output:
            beside.unlink(missing_ok=True)
