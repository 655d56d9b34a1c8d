"""Environment variables into a Struct of plain values, with every fault told at once."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


class SettingsError(Exception):
    """One or more environment variables are wrong; the text names them all, a line each."""


def read_settings(kind: type[S], environ: Mapping[str, str], prefix: str = "LLMRING_") -> S:
    """Build settings from variables named `PREFIX` + the field's name in capitals.

    An empty variable counts as not set. Values are converted to the field's type: numbers, `true`/`false`,
    comma-separated tuples.

    Raises:
        SettingsError: a value does not fit its type or bounds, or one without default is missing.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for field in msgspec.structs.fields(kind):
        name = prefix + field.name.upper()
        text = environ.get(name, "")
        if not text:
            if field.required:
                faults.append(f"{name} is required")
            continue
        raw: Any = [part.strip() for part in text.split(",")] if _is_list(field.type) else text
        try:
            values[field.name] = msgspec.convert(raw, field.type, strict=False)
        except msgspec.ValidationError as error:
            faults.append(f"{name}: {error}")
    if faults:
        raise SettingsError("\n".join(faults))
    return kind(**values)


def _is_list(kind: object) -> bool:
    return getattr(kind, "__origin__", None) in (tuple, list)
