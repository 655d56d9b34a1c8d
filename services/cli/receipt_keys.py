"""`llmring-api receipts keys`: the keys that sign receipts: which there are, a new one, a compromised one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import click
import msgspec

from services.cli.reach import finish, reach_existing_database
from services.cli.settings import ProcessSettings, load_settings
from services.receipts.log import ReceiptLog
from services.receipts.revoke import Revocation, RevocationError, revoke_key
from services.receipts.signer import Signer, SigningKeyError
from services.receipts.verify import Verification
from shared.clock import SystemClock, parse_rfc3339, rfc3339
from shared.contracts.receipts import PublicKeys
from shared.postgres import Database, open_database

_LONGEST_COUNT: Final = timedelta(minutes=30)
"""How long reading every receipt may take."""


class _Instant(click.ParamType[datetime]):
    """An RFC 3339 time, or `now`."""

    name = "TIME"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's own signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> datetime:
        """Read it, or end with status 2."""
        if value == "now":
            return SystemClock().now()
        try:
            return parse_rfc3339(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


@click.group()
def keys() -> None:
    """Look after the keys that sign receipts and checkpoints."""


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="print a JSON document, that of public-keys.json")
def list_(as_json: bool) -> None:
    """List every key that ever signed, oldest first."""
    settings = load_settings()
    with reach_existing_database(settings) as url:
        published = finish(_list(url), settings)
    if as_json:
        click.echo(msgspec.json.encode(published).decode())
        return
    for key in published.keys:
        until = key.revoked_at or key.not_after
        end = f"until {rfc3339(until)}" if until else ""
        click.echo(f"{key.key_id}  {key.status:8}  from {rfc3339(key.not_before)}  {end}".rstrip())


@keys.command()
def rotate() -> None:
    """Make a new key in the data directory, by which everything is signed from now on.

    A running server takes it with its next receipt. The old key's receipts stay valid. Where the seed is a
    setting, give every process a new one instead.
    """
    settings = load_settings()
    with reach_existing_database(settings) as url:
        key_id = finish(_rotate(settings, url), settings)
    click.echo(f"Key {key_id} signs receipts from now on; its private half is")
    click.echo(f"{settings.data_path / 'receipts' / f'{key_id}.seed'}")
    click.echo("Keep a copy of that file: it is nowhere else.")


@keys.command()
@click.argument("key_id")
@click.option("--at", type=_Instant(), required=True, help="since when others may have it: RFC 3339, or now")
@click.option(
    "--stop-signing", is_flag=True, help="also if it is the current key and no other one signs then"
)
def revoke(key_id: str, at: datetime, stop_signing: bool) -> None:
    """Mark a key as compromised since a TIME. This cannot be undone.

    What it signed from then on counts no more. What is older counts where the log has it.
    """
    settings = load_settings()
    with reach_existing_database(settings) as url:
        done = finish(_revoke(url, key_id, at, stop_signing=stop_signing), settings)
    click.echo(f"Key {key_id} is revoked since {rfc3339(at)}.")
    click.echo(f"{done.signed.since} receipts that it signed since then count no more.")
    click.echo(
        f"{done.signed.before} older ones count; offline, only together with their proof from the log."
    )
    click.echo(
        "jwks.json has the key no longer. Saved copies of public-keys.json do not know: hand out the new one."
    )
    if done.current_key_id is None:
        click.echo(
            "No key signs now: receipts wait until there is a new one (receipts keys rotate, or a new seed)."
        )


async def _list(url: str) -> PublicKeys:
    async with _reach(url) as database:
        return await Verification(database).list_public_keys()


async def _rotate(settings: ProcessSettings, url: str) -> str:
    async with _reach(url) as database:
        clock = SystemClock()
        signer = Signer(database, settings.receipts, clock)
        try:
            key = await signer.rotate()
        except SigningKeyError as error:
            raise click.ClickException(f"{error}.") from error
        # The old key may be revoked next: then nobody should hold a checkpoint that it alone signed.
        await ReceiptLog(database, signer, "", clock).renew_signature()
        return key.key_id


async def _revoke(url: str, key_id: str, at: datetime, *, stop_signing: bool) -> Revocation:
    async with _reach(url) as database:
        try:
            return await revoke_key(database, key_id, at, SystemClock(), stop_signing=stop_signing)
        except RevocationError as error:
            raise click.ClickException(f"{error}. Nothing was changed.") from error


@asynccontextmanager
async def _reach(url: str) -> AsyncIterator[Database]:
    database = await open_database(
        url, application_name="llmring-api receipts keys", max_size=2, statement_timeout=_LONGEST_COUNT
    )
    try:
        yield database
    finally:
        await database.close()
