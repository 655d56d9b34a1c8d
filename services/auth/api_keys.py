"""API keys: 192 random bits that are shown once, and the SHA-256 by which they are known afterwards."""

import hashlib
import re
import secrets
from typing import Final, NamedTuple

from shared.contracts.keys import SCOPE_ADMIN, SCOPE_LOG, SCOPE_OPERATOR, SCOPE_READ

KEY_PREFIX: Final = "llmr_pk_"
CUSTOMER_SCOPES: Final = (SCOPE_LOG, SCOPE_READ, SCOPE_ADMIN)
OPERATOR_SCOPES: Final = (*CUSTOMER_SCOPES, SCOPE_OPERATOR)

_RANDOM_BYTES = 24
_SHOWN_CHARS = len(KEY_PREFIX) + 8
_HELD = re.compile(rf"{KEY_PREFIX}[0-9a-fA-F]{{{_SHOWN_CHARS - len(KEY_PREFIX) + 1}}}")
_PLAIN = re.compile(rf"{KEY_PREFIX}[0-9a-f]{{{2 * _RANDOM_BYTES}}}")


class ApiKey(NamedTuple):
    """A key in the one moment in which its plain text is known.

    Attributes:
        plain: what its owner sends; never stored, never logged.
        sha256: what is stored. A plain hash is enough, since 192 random bits cannot be guessed from it.
        prefix: the first characters, by which its owner can tell it from others.
    """

    plain: str
    sha256: bytes
    prefix: str

    def __repr__(self) -> str:
        return f"ApiKey(prefix={self.prefix!r})"  # the plain key never reaches a log or a traceback


def new_api_key() -> ApiKey:
    """Draw a new key from the operating system's randomness."""
    return read_api_key(KEY_PREFIX + secrets.token_hex(_RANDOM_BYTES))


def read_api_key(plain: str) -> ApiKey:
    """Take apart the text of a key.

    Raises:
        ValueError: it is not the text of a key; the message does not repeat it.
    """
    if not _PLAIN.fullmatch(plain):
        raise ValueError(f"not an API key: expected {KEY_PREFIX} and {2 * _RANDOM_BYTES} hex digits")
    return ApiKey(plain, hashlib.sha256(plain.encode()).digest(), plain[:_SHOWN_CHARS])


def holds_api_key(text: str) -> bool:
    """Whether more of a key than its prefix stands somewhere in a text."""
    return _HELD.search(text) is not None
