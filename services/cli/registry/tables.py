"""Changes and other rows as aligned tables for a terminal."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click
import msgspec

from services.registry.publish import Publication
from shared.contracts.changes import Change, ProviderChange

_WIDEST: Final = 60
_encoder: Final = msgspec.json.Encoder()

AnyChange = Change | ProviderChange


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as their widest cell."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def show_cell(value: Any, widest: int = _WIDEST) -> str:  # noqa: ANN401 - any field's value
    """A value in one line: numbers with all digits, text without quotes, what is longer than `widest` cut."""
    if value is None:
        return "-"
    if value is msgspec.UNSET:
        return ""
    text = value if isinstance(value, str) else _encoder.encode(value).decode()
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= widest else text[: widest - 1] + "…"


def print_changes(changes: Sequence[AnyChange], shown: int | None = None) -> None:
    """A table of changes, one to a line.

    With `shown` at most so many, and then how many more there are. Whole entries come last then, since in
    thousands of them the other changes would be lost.
    """
    if shown is not None:
        changes = sorted(changes, key=lambda change: change.field is None)
    rows = [
        (
            change.type,
            change.model if isinstance(change, Change) else change.provider,
            change.field or "",
            "" if change.field is None else show_cell(change.old),
            "" if change.field is None else show_cell(change.new),
        )
        for change in (changes if shown is None else changes[:shown])
    ]
    if rows:
        print_table(("change", "of", "field", "old", "new"), rows)
    if len(rows) < len(changes):
        click.echo(f"... and {len(changes) - len(rows)} more; --all shows them")


def print_publication(publication: Publication, shown: int | None) -> None:
    """What a publish did or would do: the changes, and its version."""
    changes: list[AnyChange] = [*publication.changes, *publication.provider_changes]
    print_changes(changes, shown)
    for doubt in publication.needs_confirm:
        click.echo(f"needs --confirm: {doubt.field}: {doubt.message}")
    if not changes:
        click.echo(f"Nothing changed: version {publication.version} says all this already.")
        return
    did = "Would publish" if publication.dry_run else "Published"
    click.echo(
        f"{did} version {publication.version}, in force from {publication.effective_from}: "
        f"{count_changes(changes)}."
    )


def count_changes(changes: Iterable[AnyChange]) -> str:
    """`12 model.added, 3 price.changed`."""
    counts = Counter(change.type for change in changes)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
