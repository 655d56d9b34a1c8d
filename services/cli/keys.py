"""`llmring-api keys`: API keys for whoever can reach the database, and the secrets of a deployment."""

import asyncio
from base64 import b64encode

import click

from services.auth.operator import create_operator_key
from services.cli.reach import reach_database
from services.cli.settings import load_settings
from shared.clock import SystemClock
from shared.errors import UnavailableError
from shared.postgres import migrate, open_database
from shared.proofs.signing import SigningKey, new_seed


@click.group()
def keys() -> None:
    """Make keys: API keys, and the secrets of a deployment."""


@keys.command()
@click.option("--operator", is_flag=True, required=True, help="of all scopes, for the operator's account")
@click.option("--name", help="what the key is for")
def create(operator: bool, name: str | None) -> None:  # noqa: ARG001 - the flag says what the key may do
    """Make an API key and print it; nobody can show it again. The server may run or not."""
    with reach_database(load_settings()) as url:
        try:
            click.echo(asyncio.run(_create(url, name)))
        except UnavailableError as error:
            raise click.ClickException(error.detail) from error


@keys.command()
def principal() -> None:
    """Print a new key by which the gateway vouches for callers, as two settings.

    The first is a secret of the gateway; the second goes to every service behind it.
    """
    seed = new_seed()
    click.echo(f"LLMRING_PRINCIPAL_SEED={b64encode(seed).decode()}")
    public_key = SigningKey.from_seed(seed).public_key
    click.echo(f"LLMRING_PRINCIPAL_PUBLIC_KEYS={b64encode(public_key).decode()}")


@keys.command()
def receipts() -> None:
    """Print a new key that signs receipts, as a setting. Keep a copy: it is what proves them."""
    click.echo(f"LLMRING_RECEIPTS_SIGNING_SEED={b64encode(new_seed()).decode()}")


@keys.command()
def webhooks() -> None:
    """Print a new key that seals the secrets of webhooks in the database, as a setting. Keep a copy."""
    click.echo(f"LLMRING_WEBHOOKS_KEY={b64encode(new_seed()).decode()}")


async def _create(url: str, name: str | None) -> str:
    from services.all_in_one import SCHEMAS

    await migrate(url, SCHEMAS)
    database = await open_database(url, application_name="llmring-api keys")
    try:
        return await create_operator_key(database, SystemClock(), name)
    finally:
        await database.close()
