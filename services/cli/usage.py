"""`llmring-api usage`: make what is derived from the records anew, and price what had no price."""

import contextlib
import sys
from datetime import timedelta
from typing import Final

import click

from services.audit.words import describe_rollup
from services.cli.prices import open_pricebook
from services.cli.reach import finish, reach_event_log, reach_existing_database
from services.cli.reprice import reprice
from services.cli.retention import retention
from services.cli.settings import ProcessSettings, load_settings
from services.cli.transfer.exports import export_usage
from services.cli.transfer.imports import import_usage
from services.ingest.rebuild import Rebuilt, rebuild_rollups
from services.ingest.record import Recorder
from services.ingest.refill import OvertakenError, RefusedError, refill_from_topic
from services.ingest.service import SCHEMA
from services.ingest.store.recount import CountFound, SumsFound
from shared.clock import SystemClock
from shared.event_log.positions import PostgresPositions
from shared.postgres import open_database

_SHOWN: Final = 50
_TELL_EVERY: Final = 50_000
_LONGEST_DAY: Final = timedelta(minutes=10)
"""How long adding up one account's day may take."""


@click.group()
def usage() -> None:
    """Import and export usage records, rebuild what is derived from them, price what had no price."""


usage.add_command(import_usage)
usage.add_command(export_usage)
usage.add_command(reprice)
usage.add_command(retention)


@usage.command()
@click.option("--check", is_flag=True, help="only tell what differs, and change nothing; exits with 1 then")
@click.option("--from-topic", is_flag=True, help="records too, from usage.logged, into empty tables")
@click.option("--accept-gaps", is_flag=True, help="with --from-topic: although its first records are gone")
def rebuild(check: bool, from_topic: bool, accept_gaps: bool) -> None:
    """Make the rollups what the records add up to. Everything may run meanwhile.

    With --from-topic the records themselves are recorded again. Stop all raters before; they go on at the
    end of the topic afterwards.
    """
    if from_topic and check:
        raise click.UsageError(
            "--check and --from-topic do not go together; see llmring-api doctor --verify."
        )
    if accept_gaps and not from_topic:
        raise click.UsageError("--accept-gaps goes with --from-topic.")
    settings = load_settings()
    with reach_existing_database(settings) as url:
        if from_topic:
            finish(_refill(settings, url, accept_gaps=accept_gaps), settings)
            return
        outcome = finish(_rebuild(url, only_check=check), settings)
    click.echo(f"{outcome.accounts} accounts, {outcome.differences} differences", nl=False)
    click.echo("." if check else f", {outcome.days} days were added up anew.")
    if check and outcome.differences:
        sys.exit(1)


async def _rebuild(url: str, *, only_check: bool) -> Rebuilt:
    shown = told = 0

    def show(wrong: SumsFound | CountFound) -> None:
        nonlocal shown
        shown += 1
        if shown <= _SHOWN:
            click.echo(f"{wrong.account_id} {describe_rollup(wrong)}")
        elif shown == _SHOWN + 1:
            click.echo("and more")

    def tell(accounts: int, days: int) -> None:
        nonlocal told
        if accounts - told >= _TELL_EVERY:
            told = accounts
            click.echo(f"{accounts} accounts are done, {days} days were added up anew", err=True)

    database = await open_database(
        url, application_name="llmring-api usage rebuild", max_size=2, statement_timeout=_LONGEST_DAY
    )
    try:
        return await rebuild_rollups(database, show, tell, only_check=only_check)
    finally:
        await database.close()


async def _refill(settings: ProcessSettings, url: str, *, accept_gaps: bool) -> None:
    unknown: dict[str, int] = {}
    told = 0

    def note_unknown(version: str) -> None:
        unknown[version] = unknown.get(version, 0) + 1

    def tell(done: int, total: int) -> None:
        nonlocal told
        if done - told >= _TELL_EVERY or done == total:
            told = done
            click.echo(f"{done} of {total} records", err=True)

    async with contextlib.AsyncExitStack() as stack:
        database = await open_database(url, application_name="llmring-api usage rebuild", max_size=4)
        stack.push_async_callback(database.close)
        event_log = await stack.enter_async_context(reach_event_log(settings, url))
        pricebook = await stack.enter_async_context(open_pricebook(settings, url, event_log))
        positions = PostgresPositions(database, SCHEMA.name)
        recorder = Recorder(
            database=database,
            event_log=event_log,
            positions=positions,
            pricebook=pricebook,
            watermark=None,
            clock=SystemClock(),
            follow_records=True,
            on_unknown_version=note_unknown,
        )
        try:
            done = await refill_from_topic(
                database=database,
                event_log=event_log,
                positions=positions,
                recorder=recorder,
                on_progress=tell,
                accept_gaps=accept_gaps,
            )
        except RefusedError as error:
            raise click.ClickException(f"{error}. Nothing was done.") from error
        except OvertakenError as error:
            raise click.ClickException(f"{error}. Stop all raters, empty the tables, start again.") from error
    for version, count in unknown.items():
        click.echo(f"{count} records keep their own cost: there is no registry version {version}.")
    click.echo(f"{done} records of usage.logged were recorded; raters go on from here.")
