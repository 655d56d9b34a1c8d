"""`llmring-api webhooks`: look after what the secrets of webhooks are sealed with."""

import click

from services.cli.reach import finish, reach_existing_database
from services.cli.settings import ProcessSettings, load_settings
from services.webhooks.key_ring import SealingKeyError
from services.webhooks.reseal import Rotation, rotate_sealing_key
from shared.postgres import open_database


@click.group()
def webhooks() -> None:
    """Look after webhooks."""


@webhooks.group()
def keys() -> None:
    """Look after the key that the secrets of webhooks are sealed with."""


@keys.command()
def rotate() -> None:
    """Make a new key in the data directory, and seal all secrets with it. The server may run or not.

    Where the key is a setting, put a new one before it, with a comma, and restart with both first. Should
    this be interrupted, do it again: it goes on.
    """
    settings = load_settings()
    with reach_existing_database(settings) as url:
        done = finish(_rotate(settings, url), settings)
    click.echo(f"Secrets are sealed with the key {done.fingerprint.hex()[:16]} from now on.")
    click.echo(f"Those of {done.resealed} webhooks were sealed anew.")
    if done.lost:
        raise click.ClickException(
            f"No key opens the secrets of {done.lost} webhooks: their accounts have to rotate them."
        )
    if settings.webhooks_key:
        click.echo("Take the key before out of the setting.")
    click.echo("Keep a copy of the new key, and the one before for backups of the database that are older.")


async def _rotate(settings: ProcessSettings, url: str) -> Rotation:
    database = await open_database(url, application_name="llmring-api webhooks keys", max_size=2)
    try:
        return await rotate_sealing_key(database, settings.webhooks)
    except SealingKeyError as error:
        raise click.ClickException(f"{error}.") from error
    finally:
        await database.close()
