"""`llmring-api keys`: for whoever can reach the database and has lost the key."""

import asyncio
import contextlib
from collections.abc import Iterator

import click

from services.all_in_one import SCHEMAS
from services.auth.operator import create_operator_key
from services.cli.embedded_postgres import find_running_postgres
from services.cli.serve import open_database_url
from services.cli.settings import ProcessSettings, load_settings
from shared.clock import SystemClock
from shared.errors import UnavailableError
from shared.postgres import migrate, open_database


@click.group()
def keys() -> None:
    """Make API keys."""


@keys.command()
@click.option("--operator", is_flag=True, required=True, help="of all scopes, for the operator's account")
@click.option("--name", help="what the key is for")
def create(operator: bool, name: str | None) -> None:  # noqa: ARG001 - the flag says what the key may do
    """Make a key and print it; nobody can show it again. The server may run or not."""
    with _reach_database(load_settings()) as url:
        try:
            click.echo(asyncio.run(_create(url, name)))
        except UnavailableError as error:
            raise click.ClickException(error.detail) from error


@contextlib.contextmanager
def _reach_database(settings: ProcessSettings) -> Iterator[str]:
    running = None if settings.database_url else find_running_postgres(settings.data_path / "postgres")
    if running is not None:
        yield running
        return
    with open_database_url(settings) as url:
        yield url


async def _create(url: str, name: str | None) -> str:
    await migrate(url, SCHEMAS)
    database = await open_database(url, application_name="llmring-api keys")
    try:
        return await create_operator_key(database, SystemClock(), name)
    finally:
        await database.close()
