"""Texts in the cells of a CSV file, which a spreadsheet must not take for formulas (OWASP, CSV Injection)."""

import re
from typing import Final

_FORMULA: Final = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""The signs that begin one, also in their full width; behind apostrophes too, so that none is ambiguous."""


def guard_cell(text: str) -> str:
    """The text, behind an apostrophe where it would begin a formula.

    It is for texts alone: a number may be negative.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def read_cell(text: str) -> str:
    """The text that `guard_cell` made this of; any other text that it can have made is left as it is."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
