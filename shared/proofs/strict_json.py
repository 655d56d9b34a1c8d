"""Reading JSON whose text is evidence: what two readers could understand differently is refused."""

import json
from typing import Any, NoReturn


class MalformedJsonError(ValueError):
    """The bytes are not JSON in UTF-8 (RFC 8259)."""


class DuplicateKeyError(ValueError):
    """One object has a member twice. Readers disagree on which one counts, so no verdict is possible.

    Attributes:
        key: the member's name.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"duplicate_key: the member {key!r} stands twice in one object")
        self.key = key


def parse_strict(raw: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Read JSON text, on the look-out for members that stand twice, also when spelled with escapes.

    Raises:
        MalformedJsonError: no JSON, no UTF-8, `NaN` or `Infinity`, or nested too deeply to be read.
        DuplicateKeyError: a member stands twice in one object.
    """
    try:
        return _decoder.decode(raw.decode("utf-8"))
    except DuplicateKeyError:
        raise
    except RecursionError:
        raise MalformedJsonError("is nested too deeply") from None
    except ValueError:  # also UnicodeDecodeError, and integers of more digits than Python reads
        raise MalformedJsonError("is not JSON in UTF-8") from None


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        seen: set[str] = set()
        for key, _ in members:
            if key in seen:
                raise DuplicateKeyError(key)
            seen.add(key)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
