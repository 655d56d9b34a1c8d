"""The right edge of a growing tree: all that is needed to append to it and to tell its root."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from shared.proofs.tlog.hashing import EMPTY_ROOT, HASH_BYTES, Node, fold
from shared.proofs.tlog.tiles import TILE_HEIGHT


class Growth(NamedTuple):
    """A frontier after an append, and the roots of the tiles that became complete by it, lower levels first.

    The node at level 8 stands for a tile of level 0, the one at level 16 for a tile of level 1, and so on.
    """

    frontier: "Frontier"
    completed: list[tuple[Node, bytes]]


class Frontier(NamedTuple):
    """A tree's size, and the roots of the perfect subtrees that it consists of, the largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    @property
    def root(self) -> bytes:
        """The root of the tree (RFC 9162, section 2.1.1)."""
        return fold(self.hashes) if self.hashes else EMPTY_ROOT

    def encode(self) -> bytes:
        """The hashes one after the other."""
        return b"".join(self.hashes)

    @classmethod
    def decode(cls, size: int, encoded: bytes) -> "Frontier":
        """Read what `encode` wrote.

        Raises:
            ValueError: there are not as many hashes as a tree of this size has.
        """
        if len(encoded) != size.bit_count() * HASH_BYTES:
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} subtrees")
        return cls(size, split_hashes(encoded))

    def append(self, leaves: Iterable[bytes]) -> Growth:
        """The frontier with more leaf hashes behind, in their order."""
        size, stack = self.size, list(self.hashes)
        completed: list[tuple[Node, bytes]] = []
        for leaf in leaves:
            root, level, count = leaf, 0, size
            while count & 1:
                root = sha256(b"\x01" + stack.pop() + root).digest()
                level += 1
                count >>= 1
                if level % TILE_HEIGHT == 0:
                    completed.append((Node(level, count), root))
            stack.append(root)
            size += 1
        return Growth(Frontier(size, tuple(stack)), completed)


def split_hashes(encoded: bytes) -> tuple[bytes, ...]:
    """The hashes that stand one after the other in some bytes."""
    return tuple(encoded[at : at + HASH_BYTES] for at in range(0, len(encoded), HASH_BYTES))


def join_hashes(hashes: Sequence[bytes]) -> bytes:
    """Hashes one after the other."""
    return b"".join(hashes)
