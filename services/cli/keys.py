"""`llmring-api keys`: for whoever can reach the database and has lost the key."""

import asyncio

import click

from services.all_in_one import SCHEMAS
from services.auth.operator import create_operator_key
from services.cli.serve import open_database_url
from services.cli.settings import load_settings
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
    """Make a key and print it; nobody can show it again.

    In embedded mode the server must be stopped: one process at a time holds the data directory.
    """
    settings = load_settings()
    with open_database_url(settings) as url:
        try:
            click.echo(asyncio.run(_create(url, name)))
        except UnavailableError as error:
            raise click.ClickException(error.detail) from error


async def _create(url: str, name: str | None) -> str:
    await migrate(url, SCHEMAS)
    database = await open_database(url, application_name="llmring-api keys")
    try:
        return await create_operator_key(database, SystemClock(), name)
    finally:
        await database.close()
