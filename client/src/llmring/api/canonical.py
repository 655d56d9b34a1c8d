"""Canonical JSON (RFC 8785) of texts, integers, booleans, null, lists and objects: what a receipt signs."""

from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 64
_encoder = msgspec.json.Encoder()


def canonical_bytes(value: object) -> bytes:
    """The one spelling of a value.

    Raises:
        ValueError: it holds something that a receipt never does: a fraction, an integer beyond 2^53-1, a lone
            surrogate, or a hundred lists in each other.
    """
    try:
        return _encoder.encode(_ordered(value, MAX_DEPTH))
    except UnicodeEncodeError:
        raise ValueError("a text holds a lone surrogate") from None


def _ordered(value: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON value
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    if depth and isinstance(value, list):
        return [_ordered(each, depth - 1) for each in value]
    if depth and isinstance(value, dict) and all(isinstance(name, str) for name in value):
        # By UTF-16 code unit (RFC 8785, section 3.2.3), which is not the order of code points above U+FFFF.
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return {name: _ordered(value[name], depth - 1) for name in names}
    raise ValueError(f"a {type(value).__name__} has no canonical form here")
