"""`llmring-api migrate`: make the database and the topics what this release needs; then it ends."""

import asyncio

import click

from services.cli.event_log import list_schemas, open_event_log
from services.cli.settings import ProcessSettings, load_settings
from shared.contracts.topics import TOPICS
from shared.postgres import MigrationError
from shared.postgres import migrate as apply_migrations
from shared.runtime.waiting import wait_for
from shared.telemetry.logs import configure_logs


@click.command()
def migrate() -> None:
    """Apply the database migrations and create the topics.

    Waits for Postgres and the event log. Safe to run at any time, from several places at once, and again
    after a crash: what is done already is left alone.
    """
    settings = load_settings()
    configure_logs(settings.log_level, as_json=settings.logs_as_json)
    if settings.database_url is None:
        raise click.ClickException("LLMRING_DATABASE_URL is required")
    try:
        applied = asyncio.run(_migrate(settings, settings.database_url))
    except MigrationError as error:
        raise click.ClickException(str(error)) from error
    for name in applied:
        click.echo(f"applied {name}")
    click.echo("The database and the topics are up to date.")


async def _migrate(settings: ProcessSettings, url: str) -> list[str]:
    schemas = list_schemas(settings)
    applied = await wait_for("Postgres", lambda: apply_migrations(url, schemas))
    event_log = await wait_for("the event log", lambda: open_event_log(settings, url))
    try:
        await wait_for("the topics", lambda: event_log.ensure_topics(TOPICS))
    finally:
        await event_log.close()
    return applied
