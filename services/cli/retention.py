"""`llmring-api usage retention`: delete what is older than its account's retention, now."""

from datetime import timedelta

import click

from services.auth.retention import RetentionRules
from services.cli.reach import finish, reach_existing_database
from services.cli.settings import ProcessSettings, load_settings
from services.ingest.retention import Retention, Swept
from shared.clock import SystemClock
from shared.postgres import open_database


@click.command()
@click.option("--dry-run", is_flag=True, help="delete nothing, only tell how many records it would be")
def retention(dry_run: bool) -> None:
    """Delete single records that are older than their account's retention. Sums and receipts stay.

    Running processes do the same every hour; this is for doing it now, or for seeing what would be done.
    """
    settings = load_settings()
    with reach_existing_database(settings) as url:
        swept = finish(_sweep(settings, url, dry_run=dry_run), settings)
    done = "would be deleted" if dry_run else "were deleted"
    click.echo(f"{swept.accounts} accounts with records, {swept.records} records {done}.")
    if swept.waiting:
        click.echo(
            f"{swept.waiting} accounts wait: their retention became shorter less than "
            f"{settings.retention_grace_days} days ago."
        )
    if swept.unknown:
        click.echo(f"{swept.unknown} accounts are not known: nothing of theirs is deleted.")
    if not swept.is_whole:
        raise click.ClickException("Another process is deleting at the moment; the rest is left to it.")


async def _sweep(settings: ProcessSettings, url: str, *, dry_run: bool) -> Swept:
    database = await open_database(url, application_name="llmring-api usage retention", max_size=2)
    try:
        sweeping = Retention(
            database,
            RetentionRules(database).list,
            SystemClock(),
            timedelta(days=settings.retention_grace_days),
        )
        return await sweeping.sweep(dry_run=dry_run)
    finally:
        await database.close()
