"""The digest that stands in a receipt for a client's metadata, which itself never enters one."""

import hashlib
import math
from typing import Any

import msgspec

from shared.proofs.canonical import MAX_DEPTH, MAX_SAFE_INTEGER, CanonicalError, canonical_bytes


def metadata_digest(metadata: dict[str, Any]) -> str:
    """SHA-256, in hex, over the RFC 8785 bytes of a metadata object.

    Key order, white space and the spelling of a number (`1.0`, `1`, `1e0`) do not change it, so it can be
    recomputed from what `GET /api/v1/logs/{log_id}` gives back. An integer beyond 2^53-1 stands in all its
    digits, where ECMAScript would round it: two metadata must not share a digest.

    Raises:
        CanonicalError: a number that is not finite, a lone surrogate, or nesting beyond `MAX_DEPTH`.
    """
    return hashlib.sha256(canonical_bytes(_with_numbers_written(metadata, MAX_DEPTH))).hexdigest()


def ecmascript_number(number: float) -> str:
    """Write a double as ECMAScript does (RFC 8785, section 3.2.2.3; ECMA-262, Number::toString).

    Python's `repr` finds the same shortest digits; only where the point and the exponent stand differs.

    Raises:
        CanonicalError: the number is not finite.
    """
    if not math.isfinite(number):
        raise CanonicalError("a number is not finite")
    if number == 0:
        return "0"  # also for -0.0
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + ("" if fraction == "0" else fraction)).lstrip("0")
    # The value is 0.DIGITS times ten to the power of `point`.
    point = int(exponent or 0) + (len(whole) if whole != "0" else len(fraction.lstrip("0")) - len(fraction))
    digits = digits.rstrip("0")
    if 0 < point <= 21:
        text = digits.ljust(point, "0")
        return sign + (text if len(digits) <= point else f"{digits[:point]}.{digits[point:]}")
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"


def _with_numbers_written(value: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON value
    if depth >= 0 and isinstance(value, dict):
        return {key: _with_numbers_written(item, depth - 1) for key, item in value.items()}
    if depth >= 0 and isinstance(value, list):
        return [_with_numbers_written(item, depth - 1) for item in value]
    if type(value) is float:
        return msgspec.Raw(ecmascript_number(value).encode())
    if type(value) is int and abs(value) > MAX_SAFE_INTEGER:
        return msgspec.Raw(str(value).encode())
    return value
