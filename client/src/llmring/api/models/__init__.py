"""What the server sends and takes, as typed values. Amounts are exact decimals; members that are not known
are passed over, since servers may be newer than this client."""

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from llmring.api.exceptions import APIServerError, APIValidationError, FieldError

T = TypeVar("T")

_MARKS: Final = (b"null", b"NaN", b"Infinity")
"""Of which one is in the JSON of whatever holds a number that is none."""

_encoder = msgspec.json.Encoder(decimal_format="number")


def encode(value: object) -> bytes:
    """JSON, decimals as numbers with all their digits.

    Raises:
        TypeError: something in it has no JSON form.
        ValueError: likewise.
    """
    return _encoder.encode(value)


def encode_fields(fields: Mapping[str, Any]) -> bytes:
    """An object as JSON in which all numbers are such: NaN would become null, as if nothing had been given.

    Raises:
        APIValidationError: a number is NaN or infinite, for which JSON has no form (RFC 8259, section 6). It
            is named as in `metadata.scores.0`.
        TypeError: something in it has no JSON form.
        ValueError: likewise.
    """
    body = encode(fields)
    if any(mark in body for mark in _MARKS):  # as a rule not, and then nothing is looked at one by one
        # Of all that has a JSON form only what is JSON already is read by the hook.
        plain = msgspec.to_builtins(fields, builtin_types=(Decimal,), enc_hook=msgspec.json.decode)
        wrong = list(_list_no_numbers(plain, ""))
        if wrong:
            message = "must be a finite number"
            errors = [FieldError(name, message) for name in wrong]
            raise APIValidationError("; ".join(f"{name}: {message}" for name in wrong), errors=errors)
    return body


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


def _list_no_numbers(value: object, place: str) -> Iterator[str]:
    """Where in a value of builtin types something stands that is no finite number, though of such a type."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _list_no_numbers(each, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _list_no_numbers(each, f"{place}.{number}")
    elif (isinstance(value, float) and not math.isfinite(value)) or (
        isinstance(value, Decimal) and not value.is_finite()
    ):
        yield place
