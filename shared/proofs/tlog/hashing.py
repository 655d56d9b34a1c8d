"""The hashes of a Merkle tree (RFC 9162, section 2.1.1), and the perfect subtrees that ranges are made of."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of the tree without leaves."""


class Node(NamedTuple):
    """The root of a perfect subtree: over leaves `number << level` to `(number + 1) << level`."""

    level: int
    number: int


def hash_leaf(entry: bytes) -> bytes:
    """The hash of a log entry."""
    return sha256(b"\x00" + entry).digest()


def hash_pair(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees put together."""
    return sha256(b"\x01" + left + right).digest()


def fold(hashes: Iterable[bytes]) -> bytes:
    """The root over subtrees that stand side by side, the largest first, as `cover` names them."""
    *rest, root = hashes
    for left in reversed(rest):
        root = hash_pair(left, root)
    return root


def cover(start: int, end: int) -> Iterator[Node]:
    """The perfect subtrees that the tree over leaves `start` to `end` is folded from, the largest first.

    `start` must be a multiple of the largest power of two that is not above `end - start`; so it is for every
    range that a proof asks for.
    """
    while start < end:
        level = (end - start).bit_length() - 1
        yield Node(level, start >> level)
        start += 1 << level


def root_of_perfect(hashes: list[bytes]) -> bytes:
    """The root over a power of two of hashes, all of one level."""
    while len(hashes) > 1:
        hashes = [hash_pair(*pair) for pair in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]
