"""`llmring-api usage reprice`: price records whose cost was unknown when they were accepted."""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

import click

from services.cli.prices import open_pricebook
from services.cli.reach import finish, reach_event_log, reach_existing_database
from services.cli.settings import ProcessSettings, load_settings
from services.ingest.periods import parse_bound, parse_zone
from services.ingest.presence import Presence
from services.ingest.price_late import LatePricing, Tally
from services.ingest.record import RATER
from services.ingest.selection import UnpricedQuery
from services.ingest.service import SCHEMA
from services.ingest.store.unpriced import Place
from shared.clock import SystemClock
from shared.contracts.topics import USAGE_LOGGED
from shared.errors import InvalidFieldError
from shared.event_log.positions import PostgresPositions
from shared.money import plain
from shared.postgres import open_database

_AT_ONCE: Final = 1_000
_SHOWN: Final = 50
_TELL_EVERY: Final = 50_000
_PATIENCE_S: Final = 30.0
_LOOK_S: Final = 0.1


@click.command()
@click.option("--from", "start", required=True, help="YYYY-MM-DD (UTC), or an RFC 3339 time")
@click.option("--to", "end", required=True, help="likewise; a day counts whole, a time is not included")
@click.option("--account", type=click.UUID, help="only this account's records")
@click.option("--model", help="only this model's, by the name that was sent")
@click.option("--version", help="price with this registry version")
@click.option("--dry-run", is_flag=True, help="only tell")
def reprice(
    *, start: str, end: str, account: UUID | None, model: str | None, version: str | None, dry_run: bool
) -> None:
    """Price records whose cost is unknown, by their own time. Everything may run meanwhile.

    Each is priced with the registry version in force at its own time or, where that has no price, with the
    one in force now. What has a cost is never touched.
    """
    query = UnpricedQuery(_instant(start, is_end=False), _instant(end, is_end=True), account, model)
    if query.start_at >= query.end_at:
        raise click.UsageError("--from must not be after --to.")
    settings = load_settings()
    with reach_existing_database(settings) as url:
        tally, applied = finish(_reprice(settings, url, query, version, dry_run=dry_run), settings)
    _tell(tally, dry_run=dry_run)
    if not applied:
        click.echo("The raters have not come to them yet.")


def _instant(text: str, *, is_end: bool) -> datetime:
    try:
        return parse_bound(text, "--to" if is_end else "--from", parse_zone(None), is_end=is_end)
    except InvalidFieldError as error:
        raise click.UsageError(f"{error.detail}.") from None


async def _reprice(
    settings: ProcessSettings, url: str, query: UnpricedQuery, version: str | None, *, dry_run: bool
) -> tuple[Tally, bool]:
    """What was found, and whether the raters have applied it."""
    tally = Tally()
    ends: dict[int, int] = {}
    told = 0
    async with contextlib.AsyncExitStack() as stack:
        database = await open_database(url, application_name="llmring-api usage reprice", max_size=2)
        stack.push_async_callback(database.close)
        event_log = await stack.enter_async_context(reach_event_log(settings, url))
        pricing = LatePricing(
            database=database,
            presence=Presence(database),
            event_log=event_log,
            pricebook=await stack.enter_async_context(open_pricebook(settings, url, event_log)),
            clock=SystemClock(),
            watermark=None,
        )
        after: Place | None = None
        while True:
            part = await pricing.price_part(
                query, tally, version=version, dry_run=dry_run, after=after, limit=_AT_ONCE
            )
            ends.update(part.ends)
            if tally.examined - told >= _TELL_EVERY:
                told = tally.examined
                click.echo(f"{tally.examined} records were looked at", err=True)
            after = part.following
            if after is None:
                return tally, await _wait(PostgresPositions(database, SCHEMA.name), ends)


async def _wait(positions: PostgresPositions, ends: Mapping[int, int]) -> bool:
    """Whether the raters come to some ends within a while."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE_S
    while True:
        applied = await positions.load(RATER, USAGE_LOGGED, list(ends))
        if all(applied.get(partition, 0) >= end for partition, end in ends.items()):
            return True
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(_LOOK_S)


def _tell(tally: Tally, *, dry_run: bool) -> None:
    lines = [
        f"{key}  {version}  {records} records  ${plain(tally.costs[key, version])}"
        for (key, version), records in sorted(tally.records.items())
    ]
    lines += [
        f"{provider}:{model}  {records} records stay unpriced: {reason}"
        for (provider, model, reason), records in sorted(tally.unpriced.items())
    ]
    for line in lines[:_SHOWN]:
        click.echo(line)
    if len(lines) > _SHOWN:
        click.echo("and more")
    would = "would be" if dry_run else "were"
    click.echo(
        f"{tally.examined} records without a cost, {tally.priced} {would} priced: ${plain(tally.cost)}."
    )
