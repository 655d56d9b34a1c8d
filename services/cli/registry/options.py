"""Options that publishing commands share."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from services.cli.registry.desk import CURRENT
from services.registry.fields import UnfitError
from services.registry.request import read_effective_from
from shared.pricing.versions import parse_version

F = TypeVar("F", bound=Callable[..., Any])


def check_version(_: click.Context, __: click.Parameter, value: str) -> str:
    """Let the name of a version pass, and `current`.

    Raises:
        click.BadParameter: it is neither.
    """
    try:
        if value != CURRENT:
            parse_version(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}, or it is 'current'") from None
    return value


def publishing_options(command: F) -> F:
    """How to publish: --mode, --effective-from, --confirm, --dry-run, and --all for what is printed."""
    for option in (
        click.option("--all", "show_all", is_flag=True, help="print every line, however many there are"),
        click.option("--confirm", is_flag=True, help="publish also what looks like a mistake"),
        click.option("--dry-run", is_flag=True, help="only tell what would change"),
        click.option(
            "--effective-from",
            metavar="INSTANT",
            callback=_read_instant,
            help="when it comes into force, such as 2026-12-01T00:00:00Z; now by default",
        ),
        click.option(
            "--mode",
            type=click.Choice(("merge", "replace")),
            help="merge (default) keeps the models that are not named, replace removes them",
        ),
    ):
        command = option(command)
    return command


def _read_instant(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    try:
        return read_effective_from(value)
    except UnfitError as error:
        raise click.BadParameter(str(error)) from None
