"""What the server sends and takes, as typed values. Amounts are exact decimals; members that are not known
are passed over, since servers may be newer than this client."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from llmring.api.exceptions import APIServerError

T = TypeVar("T")

_encoder = msgspec.json.Encoder(decimal_format="number")


def encode(value: object) -> bytes:
    """JSON, decimals as numbers with all their digits.

    Raises:
        TypeError: something in it has no JSON form.
        ValueError: likewise.
    """
    return _encoder.encode(value)


def decode(body: bytes, kind: type[T]) -> T:
    """Read an answer.

    Raises:
        APIServerError: it is not what was promised.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise APIServerError(f"the answer is no {kind.__name__}: {error}") from None


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value is not None}
