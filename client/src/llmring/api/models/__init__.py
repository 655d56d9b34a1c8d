"""What the server sends and takes, as typed values. Amounts are exact decimals; members that are not known
are passed over, since servers may be newer than this client."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from llmring.api.exceptions import APIServerError, APIValidationError, FieldError

T = TypeVar("T")

_encoder = msgspec.json.Encoder(decimal_format="number")


def encode(value: object) -> bytes:
    """JSON, decimals as numbers with all their digits.

    Raises:
        TypeError: something in it has no JSON form.
        ValueError: likewise.
    """
    return _encoder.encode(value)


def encode_fields(fields: Mapping[str, Any]) -> bytes:
    """An object as JSON, whose own numbers are such: NaN would become null, as if nothing had been given.

    Raises:
        APIValidationError: a field is NaN or infinite, for which JSON has no form (RFC 8259, section 6).
        TypeError: something in it has no JSON form.
        ValueError: likewise.
    """
    wrong = [name for name, value in fields.items() if not _is_number(value)]
    if wrong:
        message = "must be a finite number"
        errors = [FieldError(name, message) for name in wrong]
        raise APIValidationError("; ".join(f"{name}: {message}" for name in wrong), errors=errors)
    return encode(fields)


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


def _is_number(value: object) -> bool:
    """Whether it is finite, if it is a number at all."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, Decimal) or value.is_finite()
