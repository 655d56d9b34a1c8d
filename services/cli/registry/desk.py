"""What the commands of the registry work with: its tables, reached like those of any other command."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import click

from services.cli.event_log import list_schemas
from services.cli.reach import reach_event_log
from services.cli.settings import ProcessSettings
from services.registry.library import Library
from services.registry.seed import seed_history
from services.registry.service import SCHEMA
from services.registry.settings import RegistrySettings
from services.registry.volume import Volume
from shared.clock import SystemClock
from shared.contracts.topics import TOPICS
from shared.errors import InvalidFieldError, LLMRingError
from shared.event_log.port import EventLog
from shared.event_log.postgres import SCHEMA as EVENT_LOG_SCHEMA
from shared.postgres import Database, MigrationError, list_pending, migrate, open_database

CURRENT: Final = "current"
_NAME: Final = "llmring-api registry"


class Desk(NamedTuple):
    """The registry, to publish to."""

    database: Database
    event_log: EventLog
    library: Library
    clock: SystemClock


@contextlib.asynccontextmanager
async def open_library(settings: ProcessSettings, url: str) -> AsyncIterator[Library]:
    """The versions of a deployment, to read.

    Raises:
        click.ClickException: its database lacks migrations.
        UnavailableError: it is away.
    """
    try:
        pending = await list_pending(url, [SCHEMA])
    except MigrationError as error:
        raise click.ClickException(str(error)) from error
    if pending:
        command = "migrate" if settings.database_url else "serve"
        raise click.ClickException(f"The database is not up to date: run llmring-api {command} first.")
    database = await open_database(url, application_name=_NAME, max_size=2)
    try:
        yield Library(database, RegistrySettings())
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def open_desk(settings: ProcessSettings, url: str) -> AsyncIterator[Desk]:
    """The registry, with tables, topics and history as the first start of a deployment makes them.

    Raises:
        click.ClickException: a database of one's own lacks migrations.
        RefusedError: what was published within was refused.
        UnavailableError: something is away.
    """
    try:
        needed = [SCHEMA] if settings.kafka_bootstrap else [EVENT_LOG_SCHEMA, SCHEMA]
        pending = await list_pending(url, needed)
        if pending and settings.database_url:
            raise click.ClickException("The database is not up to date: run llmring-api migrate first.")
        if pending:
            await migrate(url, list_schemas(settings))
    except MigrationError as error:
        raise click.ClickException(str(error)) from error
    async with contextlib.AsyncExitStack() as stack:
        event_log = await stack.enter_async_context(reach_event_log(settings, url))
        if pending:
            await event_log.ensure_topics(TOPICS)
        database = await open_database(url, application_name=_NAME, max_size=3)
        stack.push_async_callback(database.close)
        await seed_history(database)
        try:
            yield Desk(database, event_log, Library(database, RegistrySettings()), SystemClock())
        except InvalidFieldError as error:
            raise RefusedError(error) from error


async def find_volume(library: Library, version: str) -> Volume:
    """A version by its name, or the one in force by `current`.

    Raises:
        NotFoundError: there is no such version.
    """
    if version == CURRENT:
        return await library.get_in_force(SystemClock().now())
    return await library.get_version(version)


class RefusedError(click.ClickException):
    """A publish that was refused: each fault on a line of its own; exits with 1."""

    def __init__(self, error: LLMRingError) -> None:
        faults = error.faults if isinstance(error, InvalidFieldError) else ()
        told = [f"{fault.field}: {fault.message}" for fault in faults] or [error.detail]
        super().__init__("Nothing was published.\n" + "\n".join(f"  {line}" for line in told))
