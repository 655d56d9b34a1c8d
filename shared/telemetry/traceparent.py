"""The header `traceparent` (W3C Trace Context, version 00): trace, span, and whether it is recorded."""

from typing import Final

_LENGTH: Final = 55
_HEX: Final = b"0123456789abcdef"
_ODD: Final = b"13579bdf"
"""Last digits of flags in which bit 0, "sampled", is set."""


def is_traceparent(text: bytes | None) -> bool:
    """Whether it is a `traceparent` of version 00 whose ids are not zero (W3C Trace Context, 3.2.2)."""
    if text is None or len(text) != _LENGTH or text[:3] != b"00-":
        return False
    parts = text.split(b"-")
    return (
        [len(part) for part in parts] == [2, 32, 16, 2]
        and not b"".join(parts).translate(None, _HEX)
        and parts[1].strip(b"0") != b""
        and parts[2].strip(b"0") != b""
    )


def says_sampled(text: bytes | None) -> bool:
    """Whether it claims to be recorded, at a glance: all else about it is still to be checked."""
    return text is not None and len(text) == _LENGTH and text[-1] in _ODD


def unsampled(text: bytes) -> bytes:
    """The same trace and span, not recorded."""
    return text[:-2] + b"00"
