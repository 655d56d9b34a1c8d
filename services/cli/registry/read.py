"""`llmring-api registry list|show|diff|export`: looking at versions."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import click
import msgspec

from services.cli.reach import finish, reach_existing_database
from services.cli.registry.desk import CURRENT, find_volume, open_library
from services.cli.registry.options import check_version
from services.cli.registry.tables import print_changes, print_table, show_cell
from services.cli.settings import load_settings
from services.registry.changes import list_changes, list_provider_changes
from services.registry.difference import compare
from services.registry.library import Library
from services.registry.snapshot import decode_snapshot, encode_provider_file, show_model
from services.registry.volume import Volume
from shared.clock import SystemClock, rfc3339
from shared.contracts.registry import Snapshot, VersionListing
from shared.pricing.names import NameIndex, split_name
from shared.pricing.versions import Timeline

T = TypeVar("T")

_WHOLE: Final = 10_000
_encoder: Final = msgspec.json.Encoder()


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="one JSON object for each")
def list_versions(as_json: bool) -> None:
    """List all versions, newest first; * is in force."""

    async def read(library: Library) -> tuple[list[VersionListing], str | None]:
        listings = await library.list_versions()
        now = Timeline(listings).find_in_force(SystemClock().now())
        return listings, now.version if now is not None else None

    listings, in_force = _look(read)
    if as_json:
        for listing in listings:
            click.echo(_encoder.encode(listing))
        return
    print_table(
        ("version", "", "in force from", "models", "digest"),
        [
            (
                listing.version,
                "*" * (listing.version == in_force),
                rfc3339(listing.effective_from),
                str(listing.models),
                listing.digest[:12],
            )
            for listing in listings
        ],
    )


@click.command()
@click.argument("version", callback=check_version)
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="the entries as they are served")
def show(version: str, model: str | None, as_json: bool) -> None:
    """Show the models of VERSION, which may be `current`, or all that it says of one MODEL.

    MODEL is a key, provider:model, or any name by which records are priced.
    """
    (volume,) = _look(lambda library: _find(library, version))
    snapshot = decode_snapshot(volume.edition.body)
    if model is not None:
        _show_model(snapshot, model, as_json=as_json)
        return
    if as_json:
        click.echo(volume.edition.body)
        return
    rows = [
        (
            key,
            show_cell(show_model(each)["dollars_per_million_tokens_input"]),
            show_cell(show_model(each)["dollars_per_million_tokens_output"]),
            show_cell(each.max_input_tokens),
            "" if each.is_active else "retired",
        )
        for key, each in snapshot.models.items()
    ]
    print_table(("model", "input $/M", "output $/M", "max input", ""), rows)
    counts = Counter(each.provider for each in snapshot.models.values())
    told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    click.echo(f"Version {snapshot.version}, in force from {rfc3339(snapshot.effective_from)}: {told}.")


def _show_model(snapshot: Snapshot, model: str, *, as_json: bool) -> None:
    names = split_name(model)
    key = NameIndex(snapshot.models).find_key(*names) if names else None
    if key is None:
        raise click.ClickException(f"Version {snapshot.version} has no model {model}; give provider:model.")
    shown = show_model(snapshot.models[key])
    if as_json:
        click.echo(_encoder.encode(shown))
        return
    print_table(("field", key), [(name, show_cell(value, _WHOLE)) for name, value in _flatten(shown, "")])


def _flatten(shown: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    """Each price of a tier and of a step on a line of its own, named as in a list of changes."""
    for name, value in shown.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        elif name == "long_context_steps" and isinstance(value, list):
            for step in value:
                prices = {price: amount for price, amount in step.items() if price != "above_tokens"}
                yield from _flatten(prices, f"{prefix}{name}.{step['above_tokens']}.")
        else:
            yield f"{prefix}{name}", value


@click.command()
@click.argument("old", metavar="A", callback=check_version)
@click.argument("new", metavar="[B]", default=CURRENT, callback=check_version)
@click.option("--json", "as_json", is_flag=True, help="print a JSON document, with whole entries")
def diff(old: str, new: str, as_json: bool) -> None:
    """Tell everything that makes version B out of version A; either may be `current`, B is by default."""
    volumes = _look(lambda library: _find(library, old, new))
    before, after = (decode_snapshot(volume.edition.body) for volume in volumes)
    if as_json:
        bodies = (volume.edition.body for volume in volumes)
        click.echo(compare(before.version, after.version, *bodies))
        return
    changes = list_changes(before.models, after.models, whole=True)
    of_providers = list_provider_changes(before.providers, after.providers)
    print_changes([*changes, *of_providers])
    click.echo(
        f"{len(changes) + len(of_providers)} changes from {before.version} to {after.version}."
        if changes or of_providers
        else f"Nothing differs between {before.version} and {after.version}."
    )


def _check_output(_: click.Context, __: click.Parameter, value: BinaryIO) -> BinaryIO:
    """Refuse a folder now: an atomic file finds out only when all is written."""
    if Path(value.name).is_dir():
        raise click.BadParameter(f"{value.name} is a folder")
    return value


@click.command()
@click.argument("version", default=CURRENT, callback=check_version)
@click.option("--provider", help="only its models, as a provider file that import reads")
@click.option(
    "-o",
    "--output",
    type=click.File("wb", atomic=True),
    default="-",
    callback=_check_output,
    help="a file to write to",
)
def export(version: str, provider: str | None, output: BinaryIO) -> None:
    """Write VERSION byte for byte as it is served, the one in force by default."""

    async def read(library: Library) -> bytes:
        body = (await find_volume(library, version)).edition.body
        return body if provider is None else _take_provider(library, decode_snapshot(body), provider)

    output.write(_look(read))


def _take_provider(library: Library, snapshot: Snapshot, provider: str) -> bytes:
    if provider not in snapshot.providers:
        raise click.ClickException(f"Version {snapshot.version} has no provider {provider}.")
    book = library.lineage.find_book(snapshot.version, provider)
    number, updated_at = (book.number, book.updated_at) if book else (0, snapshot.generated_at)
    return encode_provider_file(snapshot, provider, number=number, updated_at=updated_at)


async def _find(library: Library, *versions: str) -> list[Volume]:
    return [await find_volume(library, version) for version in versions]


def _look(read: Callable[[Library], Awaitable[T]]) -> T:
    """Run what reads from the registry of this deployment."""
    settings = load_settings()

    async def look(url: str) -> T:
        async with open_library(settings, url) as library:
            return await read(library)

    with reach_existing_database(settings) as url:
        return finish(look(url), settings)
