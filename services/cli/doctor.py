"""`llmring-api doctor`: whether everything is there, and with `--verify` whether everything adds up."""

import os
import sys
from collections.abc import Sequence
from typing import Final

import click
import msgspec

from services.audit.findings import Findings
from services.audit.verify import Verification
from services.cli.dependencies import Look, look_at_dependencies
from services.cli.prices import open_pricebook
from services.cli.reach import finish, reach_event_log, reach_existing_database
from services.cli.settings import ProcessSettings, load_settings

SHOWN: Final = 50
_NICE: Final = 10


@click.command()
@click.option("--verify", is_flag=True, help="compare topic, rows, sums and receipts, record by record")
@click.option("--json", "as_json", is_flag=True, help="print a JSON document")
def doctor(verify: bool, as_json: bool) -> None:
    """Look at what this deployment depends on; exits with 1 if something is wrong.

    It reads the same settings as the processes. --verify is safe beside a running deployment: it changes
    nothing, takes no locks, and what is in flight is no difference.
    """
    settings = load_settings()
    with reach_existing_database(settings) as url:
        if verify:
            os.nice(_NICE)
            findings = finish(_verify(settings, url), settings)
            _print_findings(findings, as_json=as_json)
            clean = findings.is_clean
        else:
            looks = finish(_look(settings, url), settings)
            _print_looks(looks, as_json=as_json)
            clean = all(look.status != "problem" for look in looks)
    if not clean:
        sys.exit(1)


async def _look(settings: ProcessSettings, url: str) -> list[Look]:
    return [look async for look in look_at_dependencies(settings, url)]


async def _verify(settings: ProcessSettings, url: str) -> Findings:
    async with reach_event_log(settings, url) as log, open_pricebook(settings, url, log) as pricebook:
        verification = Verification(
            event_log=log,
            usage_url=url,
            receipts_url=url,
            pricebook=pricebook,
            on_progress=lambda what, count: click.echo(f"{count} {what} read", err=True),
        )
        return await verification.verify()


def _print_looks(looks: Sequence[Look], *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode([look._asdict() for look in looks]))
        return
    width = max(len(look.name) for look in looks)
    for name, status, detail in looks:
        click.echo(f"{status:<8} {name:<{width}}  {detail}")


def _print_findings(findings: Findings, *, as_json: bool) -> None:
    document = findings.as_document()
    if as_json:
        click.echo(msgspec.json.encode(document))
        return
    for name, value in document.items():
        if isinstance(value, int) and name != "clean":
            click.echo(f"{name:<20} {value}")
    for version, count in findings.unknown_versions.items():
        click.echo(f"{count} records name version {version}, which this deployment does not have")
    for kind, account_id, log_id, detail in findings.told[:SHOWN]:
        place = " ".join(str(each) for each in (account_id, log_id) if each is not None)
        click.echo(f"{kind} {place}: {detail}")
    total = findings.counts.total()
    if total > SHOWN:
        click.echo(f"{total - SHOWN} more; --json tells up to {len(findings.told)}")
    click.echo("Everything adds up." if findings.is_clean else f"{total} differences.")
