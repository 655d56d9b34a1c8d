"""Canonical JSON (RFC 8785) for payloads of strings, integers, booleans, null, lists and objects.

Fractions travel as decimal strings, so that ECMAScript's number text never decides whether a signature
holds: a float is refused here. For what remains, `msgspec` writes the same bytes as the RFC asks, many times
faster than code in Python could, with one exception that `canonical_bytes` takes care of.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 7493, section 2.2)."""

MAX_DEPTH: Final = 64
"""How deep lists and objects may stand in each other; far more than any payload has."""

_TAKEN_AS_IS: Final = frozenset({str, type(None), bool, msgspec.Raw})

_sorted = msgspec.json.Encoder(order="sorted")
_as_given = msgspec.json.Encoder()


class CanonicalError(ValueError):
    """The value has no canonical bytes under the rules of this module; the message says which part."""


def canonical_bytes(value: object) -> bytes:
    """Write a value as its one RFC 8785 text, in UTF-8.

    A `msgspec.Raw` inside it is taken over as it is: text that its maker vouches for as canonical.

    Raises:
        CanonicalError: a float, an integer beyond 2^53-1, a lone surrogate, a key that is no string, another
            type, or nesting beyond `MAX_DEPTH`.
    """
    needs_utf16_order = _check(value, MAX_DEPTH)
    try:
        return _as_given.encode(_in_utf16_order(value)) if needs_utf16_order else _sorted.encode(value)
    except UnicodeEncodeError:
        raise CanonicalError("a string holds a lone surrogate") from None


def _check(value: object, depth: int) -> bool:
    """Refuse what cannot be written; tell whether sorting by code point would order some keys wrongly.

    RFC 8785 (section 3.2.3) sorts keys by UTF-16 code unit, `msgspec` by code point. The two differ only
    where a key has a character beyond U+FFFF, whose surrogates sort below U+E000.
    """
    kind = type(value)
    if kind in _TAKEN_AS_IS or (kind is int and _is_safe(value)):
        return False
    if depth == 0:
        raise CanonicalError(f"lists and objects are nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        try:
            names = "".join(value)
        except TypeError:
            raise CanonicalError("a key is not a string") from None
        wide = not names.isascii() and max(names) > "\uffff"
        return _check_all(value.values(), depth - 1) or wide
    if isinstance(value, list | tuple):
        return _check_all(value, depth - 1)
    raise CanonicalError(f"a {kind.__name__} has no canonical form here; write fractions as strings")


def _check_all(items: Iterable[object], depth: int) -> bool:
    wide = False
    for item in items:
        kind = type(item)
        # Most values of a receipt end here, without a call.
        if kind in _TAKEN_AS_IS or (kind is int and -MAX_SAFE_INTEGER <= item <= MAX_SAFE_INTEGER):  # type: ignore[operator]  # an int
            continue
        wide = _check(item, depth) or wide
    return wide


def _is_safe(integer: Any) -> bool:  # noqa: ANN401 - an int, which its type has told
    if -MAX_SAFE_INTEGER <= integer <= MAX_SAFE_INTEGER:
        return True
    raise CanonicalError("an integer is beyond 2^53-1")


def _in_utf16_order(value: object) -> object:
    if isinstance(value, dict):
        return {key: _in_utf16_order(value[key]) for key in sorted(value, key=_utf16)}
    if isinstance(value, list | tuple):
        return [_in_utf16_order(item) for item in value]
    return value


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be")
