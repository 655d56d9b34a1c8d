"""What `docs/events.md` says, taken apart: a row for each field, the text of a section."""

import json
import re
from typing import Any, Final, NamedTuple

from tests.docs.pages import Page, list_rows

SCHEMAS: Final = "#/components/schemas/"


class Field(NamedTuple):
    """What the page says of a field.

    Attributes:
        example: as JSON, decoded.
    """

    name: str
    kind: str
    unit: str
    meaning: str
    example: Any

    @property
    def description(self) -> str:
        """Its meaning as plain text, with the unit."""
        return plain(self.meaning) + (f" ({self.unit})" if self.unit else "")


def list_fields(page: Page, section: str) -> list[Field]:
    """The fields in the table of a section."""
    rows = list_rows(page.sections()[section], "field")
    return [Field(row[0].strip("`"), row[1], row[2], row[3], json.loads(row[4].strip("`"))) for row in rows]


def describe_type(schema: dict[str, Any]) -> str:
    """A schema's type as `docs/events.md` writes it: `integer`, `uuid, null`, `array of CostLine`."""
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(SCHEMAS)
    if "anyOf" in schema:
        return ", ".join(map(describe_type, schema["anyOf"]))
    if "enum" in schema:
        return "string"
    kind = schema["type"]
    if kind == "array":
        return f"array of {describe_type(schema['items'])}"
    if isinstance(kind, list):
        return ", ".join(kind)
    return str(schema.get("format") or schema.get("contentEncoding") or kind)


def section_text(page: Page, title: str) -> str:
    """A section as Markdown without its heading and tables; of links, the words alone."""
    lines = [
        line
        for line in page.sections()[title].splitlines()[1:]
        if not line.startswith("|") and not line.startswith("<!--")
    ]
    return re.sub(r"\n{3,}", "\n\n", _without_links("\n".join(lines))).strip()


def first_paragraph(page: Page, title: str) -> str:
    """The first paragraph of a section, on one line."""
    return " ".join(section_text(page, title).split("\n\n")[0].splitlines())


def _without_links(text: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def plain(text: str) -> str:
    """Text without links and backticks."""
    return _without_links(text).replace("`", "")
