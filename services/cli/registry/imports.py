"""`llmring-api registry import`: models and prices from where others publish them."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from services.cli.reach import finish, reach_database
from services.cli.registry.desk import open_desk
from services.cli.registry.options import publishing_options
from services.cli.registry.tables import print_publication, print_table, show_cell
from services.cli.settings import ProcessSettings, load_settings
from services.registry.importers.imported import Imported, Note
from services.registry.importers.json_file import UnreadableError
from services.registry.importers.litellm import read_litellm
from services.registry.importers.provider_files import read_provider_files
from services.registry.importing import publish_import
from services.registry.publish import Publication
from services.registry.request import MAX_MODELS, PublishRequest
from shared.clock import SystemClock

SHOWN: Final = 40
_WIDEST: Final = 90


@click.command("import")
@click.option(
    "--from",
    "source",
    required=True,
    type=click.Choice(("genai-prices", "litellm", "provider-files")),
    help="genai-prices is an installed package; the others are files",
)
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[PATH]...")
@publishing_options
def import_source(
    source: str,
    paths: tuple[Path, ...],
    mode: str | None,
    effective_from: datetime | None,
    *,
    dry_run: bool,
    confirm: bool,
    show_all: bool,
) -> None:
    """Publish what a source holds, and tell what of it has no place here.

    An entry that is there keeps what the source does not speak of; its prices are replaced as a whole.
    """
    if bool(paths) == (source == "genai-prices"):
        raise click.UsageError(
            "--from genai-prices takes no PATH." if paths else f"--from {source} needs a PATH."
        )
    request = PublishRequest(
        mode="replace" if mode == "replace" else "merge",
        models={},
        paths={},
        providers={},
        effective_from=effective_from,
        confirm=confirm,
        dry_run=dry_run,
        faults=[],
    )
    try:
        name, imported = _read(source, paths, effective_from or SystemClock().now())
    except UnreadableError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{name}: {len(imported.models)} models, {len(imported.providers)} providers.")
    if not 1 <= len(imported.models) <= MAX_MODELS:
        print_notes(imported.notes, show_all=show_all)
        raise click.ClickException(f"Nothing was published: a version takes 1 to {MAX_MODELS} models.")
    settings = load_settings()
    with reach_database(settings) as url:
        publication, notes = finish(_publish(settings, url, imported, request), settings)
    print_notes(notes, show_all=show_all)
    print_publication(publication, None if show_all else SHOWN)


def _read(source: str, paths: Sequence[Path], at: datetime) -> tuple[str, Imported]:
    """What the source calls itself, and what it holds."""
    if source == "litellm":
        return ", ".join(map(str, paths)), read_litellm(paths)
    if source == "provider-files":
        return ", ".join(map(str, paths)), read_provider_files(paths)
    from services.registry.importers.package import describe_package, read_package  # 0.3 s, for this alone

    return describe_package(), read_package(at)


async def _publish(
    settings: ProcessSettings, url: str, imported: Imported, request: PublishRequest
) -> tuple[Publication, list[Note]]:
    async with open_desk(settings, url) as desk:
        return await publish_import(
            imported,
            request,
            database=desk.database,
            event_log=desk.event_log,
            library=desk.library,
            clock=desk.clock,
        )


def print_notes(notes: Sequence[Note], *, show_all: bool) -> None:
    """What was not taken over: each, or what is alike counted, with one of them for an example."""
    if not notes:
        click.echo("Everything was taken over.\n")
        return
    if show_all:
        rows = [(note.subject, note.field, note.reason, show_cell(note.detail, _WIDEST)) for note in notes]
        print_table(("of", "field", "not taken over, since it", "what"), rows)
    else:
        alike: dict[tuple[str, str], list[Note]] = defaultdict(list)
        for note in notes:
            alike[note.field, note.reason].append(note)
        print_table(
            ("count", "field", "not taken over, since it", "for example"),
            [
                (str(len(group)), field, reason, show_cell(group[0].subject))
                for (field, reason), group in sorted(alike.items(), key=lambda item: -len(item[1]))
            ],
        )
        click.echo(f"{len(notes)} in all; --all lists each")
    click.echo()
