"""Identifiers: time-ordered UUIDs (RFC 9562, version 7) and name-based ones (version 5)."""

import hashlib
import os
import time
from functools import lru_cache
from hashlib import sha1
from uuid import UUID

_IDEMPOTENCY_NAMESPACE = UUID("6f1c2b9e-6d0e-5b7a-9a39-0c5d2f4f8a11")
_PIECES_AT_ONCE = 256
_BUT_VERSION_AND_VARIANT = ~((0xF << 76) | (0x3 << 62))
_VERSION_5 = (0x5 << 76) | (0x2 << 62)
_pieces: list[bytes] = []
_last_ms = 0
_counter = 0


def random_16_bytes() -> bytes:
    """16 bytes of the operating system's randomness, asked for many at a time: a system call costs more.

    For what has to be unguessable from outside and is no secret. Safe to call from threads and after a fork.
    """
    while True:
        try:
            return _pieces.pop()
        except IndexError:
            block = os.urandom(16 * _PIECES_AT_ONCE)
            _pieces.extend(block[start : start + 16] for start in range(0, len(block), 16))


os.register_at_fork(after_in_child=_pieces.clear)


def uuid7() -> UUID:
    """A new version-7 UUID; those made by one process sort in the order they were made.

    The 12 bits after the time count within a millisecond (RFC 9562, section 6.2, method 1).
    """
    global _last_ms, _counter  # noqa: PLW0603 - the order within a process is the point
    now_ms = time.time_ns() // 1_000_000
    if now_ms > _last_ms:
        _last_ms = now_ms
        _counter = 0
    else:
        _counter += 1
        if _counter > 0xFFF:
            _last_ms += 1
            _counter = 0
    random_62 = int.from_bytes(random_16_bytes(), "big") >> 66
    return UUID(int=(_last_ms << 80) | (0x7 << 76) | (_counter << 64) | (0x2 << 62) | random_62)


def keyed_log_id(account_id: UUID, idempotency_key: str) -> UUID:
    """The log id that an account's idempotency key stands for, the same for ever."""
    named = _names_of(account_id).copy()
    named.update(idempotency_key.encode())
    number = int.from_bytes(named.digest()[:16], "big")
    return UUID(
        int=(number & _BUT_VERSION_AND_VARIANT) | _VERSION_5
    )  # UUID(bytes=, version=) takes twice as long


@lru_cache(maxsize=1024)
def _names_of(account_id: UUID) -> "hashlib._Hash":
    """Where the name-based ids of an account begin: version 5 hashes the namespace, then the name."""
    return sha1(_IDEMPOTENCY_NAMESPACE.bytes + f"{account_id}:".encode(), usedforsecurity=False)
