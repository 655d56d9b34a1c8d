"""What is sent to a witness, and what it answers (C2SP tlog-witness, `add-checkpoint`)."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from shared.proofs.signing import decode_base64, encode_base64
from shared.proofs.tlog.hashing import HASH_BYTES
from shared.proofs.tlog.note import MAX_NOTE_BYTES, NoteError, Signature, VerifierKey, parse_note, verify_note

ADD_CHECKPOINT: Final = "/add-checkpoint"
"""The path below a witness's submission prefix."""
SIZE_TYPE: Final = "text/x.tlog.size"
"""The content type of a 409 that tells the size that the witness cosigned last."""
MAX_PROOF_LINES: Final = 63
MAX_REQUEST_BYTES: Final = MAX_NOTE_BYTES + 4 * 1024
MAX_COSIGNATURES_BYTES: Final = 16 * 1024

_OLD: Final = re.compile(r"old (0|[1-9]\d{0,18})", re.ASCII)
_SIZE: Final = re.compile(r"(0|[1-9]\d{0,18})\n", re.ASCII)
_LATEST_TIME: Final = 253_402_300_799
"""9999-12-31T23:59:59Z: later times have no date."""


class AddCheckpoint(NamedTuple):
    """A request to cosign.

    Attributes:
        old_size: the size that the proof starts from: what the witness cosigned last.
        proof: that the log of the checkpoint begins with the log of that size.
        note: the signed checkpoint, as it was sent.
    """

    old_size: int
    proof: Sequence[bytes]
    note: str

    def encode(self) -> bytes:
        """The body of the request."""
        lines = [f"old {self.old_size}", *(encode_base64(each) for each in self.proof), "", self.note]
        return "\n".join(lines).encode()

    @classmethod
    def parse(cls, body: bytes) -> "AddCheckpoint":
        """Read a body. The note in it is not looked at.

        Raises:
            NoteError: it is none.
        """
        try:
            head, gap, note = body.decode().partition("\n\n")
        except UnicodeDecodeError:
            raise NoteError("the request is not UTF-8") from None
        first, *lines = head.split("\n")
        match = _OLD.fullmatch(first)
        if match is None or not gap:
            raise NoteError(
                "the request is a line with the old size, the proof, an empty line and a checkpoint"
            )
        if len(lines) > MAX_PROOF_LINES:
            raise NoteError(f"the proof has more than {MAX_PROOF_LINES} lines")
        return cls(int(match[1]), [_parse_hash(line) for line in lines], note)


def parse_size(body: bytes) -> int | None:
    """The size that a 409 tells; None where it does not."""
    match = _SIZE.fullmatch(body.decode("latin-1"))
    return None if match is None else int(match[1])


def parse_cosignatures(text: str, body: str, witness: VerifierKey) -> Signature:
    """A witness's answer, verified.

    Args:
        text: of the checkpoint that it was asked about.
        body: the lines that it gave.
        witness: its key.

    Raises:
        NoteError: there is no good cosignature of that key among them.
    """
    [signature] = verify_note(parse_note(f"{text}\n{body}"), [witness])
    return check_time(signature)


def check_time(signature: Signature) -> Signature:
    """Let a cosignature pass that says when it was made.

    Raises:
        NoteError: it does not, or its time is impossible.
    """
    if signature.time is None or not 0 < signature.time <= _LATEST_TIME:
        raise NoteError(f"the cosignature of {signature.key.name} has no possible time")
    return signature


def _parse_hash(line: str) -> bytes:
    try:
        found = decode_base64(line)
    except ValueError:
        found = b""
    if len(found) != HASH_BYTES:
        raise NoteError("a line of the proof is not a hash in base64")
    return found
