"""Records into a Parquet file, with exact decimals. Needs the extra `parquet`."""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol

import click
import msgspec

from shared.contracts.records import CSV_COLUMNS
from shared.contracts.usage import NULL

_INTEGERS: Final = frozenset(name for name in CSV_COLUMNS if name.endswith("_tokens")) | {"latency_ms"}
_MONEY: Final = frozenset(("cost", "client_cost", "calculated_cost"))
_INSTANTS: Final = frozenset(("logged_at", "received_at", "repriced_at"))
_DIGITS, _AFTER_POINT = 38, 30
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Rows(Protocol):
    """Takes records."""

    def write(self, lines: Sequence[bytes]) -> None:
        """Add records, as `format=ndjson` gives them."""
        ...


@contextmanager
def open_parquet(path: Path) -> Iterator[Rows]:
    """Write a Parquet file; it has the columns of `format=csv`.

    Money is `decimal(38, 30)`: what has more than 8 digits before the point does not fit.

    Raises:
        click.ClickException: pyarrow is not installed.
    """
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise click.ClickException(
            "Parquet needs pyarrow: pip install 'llmring-api[parquet]' installs it."
        ) from error
    schema = arrow.schema([(name, _type_of(name, arrow)) for name in CSV_COLUMNS])
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:

        class Table:
            def write(self, lines: Sequence[bytes]) -> None:
                records = [_decoder.decode(line) for line in lines]
                columns = {
                    name: [_value(name, record.get(name)) for record in records] for name in CSV_COLUMNS
                }
                try:
                    writer.write_table(arrow.table(columns, schema=schema))
                except arrow.ArrowInvalid as error:
                    raise click.ClickException(f"A record does not fit into Parquet: {error}.") from error

        yield Table()


def _type_of(name: str, arrow: Any) -> Any:  # noqa: ANN401 - an optional library
    if name in _INTEGERS:
        return arrow.int64()
    if name in _MONEY:
        return arrow.decimal128(_DIGITS, _AFTER_POINT)
    if name in _INSTANTS:
        return arrow.timestamp("us", tz="UTC")
    return arrow.string()


def _value(name: str, raw: msgspec.Raw | None) -> object:
    if raw is None or raw == NULL:
        return None
    if name in _MONEY:
        return Decimal(bytes(raw).decode())
    if name == "metadata":
        return bytes(raw).decode()
    value = msgspec.json.decode(raw)
    return datetime.fromisoformat(value) if name in _INSTANTS else value
