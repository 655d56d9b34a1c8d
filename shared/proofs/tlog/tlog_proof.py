"""A proof of inclusion as one text: an index, hashes and a checkpoint (C2SP tlog-proof)."""

import re
from typing import Final, NamedTuple

from shared.proofs.signing import decode_base64, encode_base64
from shared.proofs.tlog.hashing import HASH_BYTES

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_HASHES: Final = 63
_INDEX: Final = re.compile(r"index (0|[1-9]\d{0,18})", re.ASCII)


class TlogProof(NamedTuple):
    """That a leaf is in the tree of a checkpoint.

    Attributes:
        leaf_index: its place, from 0.
        hashes: the audit path, from the leaf's sibling upwards.
        checkpoint: the signed note, as it was given.
    """

    leaf_index: int
    hashes: tuple[bytes, ...]
    checkpoint: str

    def encode(self) -> str:
        """The text."""
        lines = [HEADER, f"index {self.leaf_index}", *map(encode_base64, self.hashes)]
        return "".join(f"{line}\n" for line in lines) + f"\n{self.checkpoint}"

    @classmethod
    def parse(cls, text: str) -> "TlogProof":
        """Read the text. Extra data, which nothing in a proof covers, is refused.

        Raises:
            ValueError: it is none; the text says why.
        """
        head, gap, checkpoint = text.partition("\n\n")
        header, *lines = head.split("\n")
        if not gap or header != HEADER or not lines:
            raise ValueError(f"a proof is {HEADER}, an index, hashes, an empty line and a checkpoint")
        index = _INDEX.fullmatch(lines[0])
        if index is None:
            raise ValueError("the second line of a proof must be its index")
        return cls(int(index[1]), decode_hashes(lines[1:]), checkpoint)


def decode_hashes(texts: list[str]) -> tuple[bytes, ...]:
    """The hashes of a proof, from their base64.

    Raises:
        ValueError: one is no hash, or there are more than any tree can need.
    """
    if len(texts) > MAX_HASHES:
        raise ValueError("the proof is longer than that of any tree")
    hashes = tuple(map(_decode_hash, texts))
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ValueError("a hash of the proof is not 32 bytes long")
    return hashes


def _decode_hash(text: str) -> bytes:
    try:
        return decode_base64(text)
    except ValueError:
        raise ValueError("a hash of the proof is not base64") from None
