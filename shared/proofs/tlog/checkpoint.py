"""Checkpoints: the size and root of a log, in the three lines that it signs (C2SP tlog-checkpoint)."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from shared.proofs.signing import SigningKey, decode_base64, encode_base64
from shared.proofs.tlog.hashing import EMPTY_ROOT, HASH_BYTES
from shared.proofs.tlog.note import (
    Note,
    NoteError,
    Signature,
    VerifierKey,
    parse_note,
    sign_note,
    verify_note,
)

_SIZE: Final = re.compile(r"0|[1-9]\d{0,18}", re.ASCII)
_MAX_SIZE: Final = (1 << 63) - 1
_LINES: Final = 3


class Checkpoint(NamedTuple):
    """What a log says of itself.

    Attributes:
        origin: the log's name, unique in the world.
        size: how many leaves it has.
        root: the 32 bytes over all of them.
    """

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read a note's text. Extension lines are signed with it and mean nothing here.

        Raises:
            NoteError: it is no checkpoint.
        """
        lines = text.split("\n")
        if len(lines) <= _LINES or lines[-1] != "" or not all(lines[:-1]):
            raise NoteError("a checkpoint has an origin, a size and a root, each in a line")
        origin, size, root = lines[:_LINES]
        try:
            digest = decode_base64(root)
        except ValueError:
            raise NoteError("the checkpoint's root is not base64") from None
        if not _SIZE.fullmatch(size) or int(size) > _MAX_SIZE or len(digest) != HASH_BYTES:
            raise NoteError("the checkpoint's size or root is impossible")
        if size == "0" and digest != EMPTY_ROOT:
            raise NoteError("the checkpoint's root is not that of an empty log")
        return cls(origin, int(size), digest)

    def sign(self, key: SigningKey) -> Note:
        """Sign as the log, whose key bears the name of the origin."""
        return sign_note(self.text, self.origin, key)


class SignedCheckpoint(NamedTuple):
    """A checkpoint whose signatures hold, those of known keys."""

    checkpoint: Checkpoint
    note: Note
    signatures: list[Signature]


def open_checkpoint(raw: str, origin: str, keys: Iterable[VerifierKey]) -> SignedCheckpoint:
    """Verify a checkpoint that the log of this origin is said to have signed.

    Args:
        raw: the whole note.
        origin: the log that is asked about.
        keys: the log's own keys, which bear its origin as their name, and those of known witnesses.

    Raises:
        NoteError: it is none, of another log, not signed by this log, or a known key's signature is wrong.
    """
    note = parse_note(raw)
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != origin:
        raise NoteError(f"the checkpoint is of {checkpoint.origin}, not of {origin}")
    signatures = verify_note(note, keys)
    if not any(each.key.name == origin and each.time is None for each in signatures):
        raise NoteError("the log itself has not signed the checkpoint with a known key")
    return SignedCheckpoint(checkpoint, note, signatures)
