"""Reaching what a deployment has: for commands that look after it, whether its processes run or not."""

import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

import click
import uvloop

from services.cli.embedded_postgres import find_running_postgres
from services.cli.event_log import open_event_log
from services.cli.settings import ProcessSettings
from shared.errors import LLMRingError
from shared.event_log.port import EventLog
from shared.telemetry.logs import configure_logs

T = TypeVar("T")


@contextlib.contextmanager
def reach_database(settings: ProcessSettings) -> Iterator[str]:
    """The URL of the deployment's database. An embedded one that does not run is started meanwhile."""
    if settings.database_url:
        yield settings.database_url
        return
    running = find_running_postgres(settings.data_path / "postgres")
    if running is not None:
        yield running
        return
    from services.cli.serve import open_database_url

    with open_database_url(settings) as url:
        yield url


@contextlib.contextmanager
def reach_existing_database(settings: ProcessSettings) -> Iterator[str]:
    """As `reach_database`, where a database that is not there yet is a mistake.

    Raises:
        click.ClickException: nothing has been started in the data directory yet.
    """
    if not settings.database_url and not (settings.data_path / "postgres" / "PG_VERSION").exists():
        raise click.ClickException(
            f"There is no database in {settings.data_path}: set LLMRING_DATABASE_URL or LLMRING_DATA_DIR."
        )
    with reach_database(settings) as url:
        yield url


@contextlib.contextmanager
def reach_event_log_url(settings: ProcessSettings) -> Iterator[str]:
    """The URL of the database that holds the event log; empty where that is in Kafka."""
    if settings.kafka_bootstrap:
        yield settings.database_url or ""
        return
    with reach_existing_database(settings) as url:
        yield url


@contextlib.asynccontextmanager
async def reach_event_log(settings: ProcessSettings, url: str) -> AsyncIterator[EventLog]:
    """The event log, closed at the end.

    Raises:
        UnavailableError: it is away.
    """
    event_log = await open_event_log(settings, url)
    try:
        yield event_log
    finally:
        await event_log.close()


def finish(work: Coroutine[Any, Any, T], settings: ProcessSettings) -> T:
    """Run a command's work to its end. What it prints is its own; log lines go to standard error.

    Raises:
        click.ClickException: something that it needs is away, or not there.
    """
    level = settings.log_level if settings.log_level != "info" else "warning"
    configure_logs(level, as_json=settings.logs_as_json)
    try:
        return uvloop.run(work)
    except LLMRingError as error:
        cause = f" {error.__cause__}" if error.__cause__ else ""
        raise click.ClickException(f"{error.detail}{cause}") from error
