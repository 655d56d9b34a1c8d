"""A statement for people: as CSV for their spreadsheets, and as a page that can be printed."""

import csv
import io
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

import msgspec

from services.receipts.store.receipts import ReceiptRow
from shared.cells import guard_cell
from shared.contracts.receipts import STATEMENT
from shared.errors import NotFoundError
from shared.proofs.signing import encode_base64

_MEASURES: Final = (
    "requests",
    "unpriced_requests",
    "cost",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
)
_HEADS: Final = ("Requests", "Unpriced", "Cost (USD)", "Input tokens", "Output tokens", "Cached input")
_STYLE: Final = (
    "body{font:14px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%;margin:1rem 0}"
    "th,td{padding:.3rem .6rem;border-bottom:1px solid #ccc;text-align:right;overflow-wrap:anywhere}"
    "th:first-child,td:first-child{text-align:left}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}"
    "dt{color:#555}dd{margin:0;overflow-wrap:anywhere;font-family:ui-monospace,monospace}"
    "@media print{body{margin:0;max-width:none}}"
)


class _Line(msgspec.Struct):
    """A line of the tables: which breakdown it is of, its name, and its measures in their order."""

    dimension: str
    name: str
    measures: tuple[str, ...]


def write_csv(row: ReceiptRow) -> str:
    """The statement's lines (RFC 4180). What a spreadsheet would take for a formula gets an apostrophe.

    Raises:
        NotFoundError: the receipt is no statement.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("dimension", "name", *_MEASURES))
    for line in _lines(_facts_of(row)):
        writer.writerow((line.dimension, guard_cell(line.name), *line.measures))
    return out.getvalue()


def write_page(row: ReceiptRow) -> str:
    """The statement as one HTML page that needs nothing else.

    Raises:
        NotFoundError: the receipt is no statement.
    """
    facts = _facts_of(row)
    lines = list(_lines(facts))
    tables = "".join(
        _table(title, [line for line in lines if line.dimension == dimension])
        for title, dimension in (("In all", "total"), ("By model", "model"), ("By origin", "origin"))
    )
    named = {
        "Account": facts["account_id"],
        "From": facts["start_at"],
        "Until, not included": facts["end_at"],
        "Receipts counted through": f"number {facts['through_sequence']}",
        "Log": facts["log_origin"],
        "Checkpoint": f"{facts['checkpoint_size']} receipts, root {facts['checkpoint_root']}",
        "Issued": facts["issued_at"],
        "Receipt": str(row.receipt_id),
        "Key": row.key_id,
        "Signature (Ed25519)": encode_base64(row.signature),
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in named.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Statement of usage</title>'
        f"<style>{_STYLE}</style></head><body><h1>Statement of usage</h1><dl>{listed}</dl>{tables}"
        "<p>This page is for reading. What is signed is the receipt itself, in JSON; verify that one.</p>"
        "</body></html>\n"
    )


def _facts_of(row: ReceiptRow) -> Mapping[str, Any]:
    if row.kind != STATEMENT:
        raise NotFoundError("That receipt is not a statement.")
    facts: Mapping[str, Any] = msgspec.json.decode(row.payload)
    return facts


def _lines(facts: Mapping[str, Any]) -> Iterator[_Line]:
    yield _Line("total", "", _measures(facts["total"]))
    for dimension in ("model", "origin"):
        for entry in facts[f"by_{dimension}"]:
            name = f"({entry['others']} others)" if "others" in entry else entry[dimension]
            yield _Line(dimension, "(none)" if name is None else name, _measures(entry))


def _measures(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(entry[name]) for name in _MEASURES)


def _table(title: str, lines: list[_Line]) -> str:
    heads = "".join(f"<th>{head}</th>" for head in ("", *_HEADS))
    rows = "".join(
        "".join(("<tr>", *(f"<td>{escape(each)}</td>" for each in (line.name, *line.measures)), "</tr>"))
        for line in lines
    )
    return f"<h2>{title}</h2><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
