"""Files of JSON, read with exact numbers."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from services.registry.fields import decode_json
from shared.errors import InvalidFieldError, MalformedRequestError


class UnreadableError(Exception):
    """A file that cannot be read at all, and why."""


def read_json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """Decode a file, fractions as exact Decimals.

    Raises:
        UnreadableError: it is not there, or is no JSON.
    """
    try:
        return decode_json(path.read_bytes())
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from error
    except (MalformedRequestError, InvalidFieldError) as error:
        raise UnreadableError(f"{path}: {error.detail}") from error


def list_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files among the paths, and every `*.json` in the folders among them, in the order of names."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.json"))
        else:
            yield path
