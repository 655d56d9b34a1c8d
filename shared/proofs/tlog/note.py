"""Signed notes (C2SP signed-note): a text, and under it a line for each key that signed it."""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from shared.proofs.signing import (
    PUBLIC_KEY_BYTES,
    SigningKey,
    decode_base64,
    encode_base64,
    verify,
)

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
"""A witness's Ed25519 signature with its time (C2SP tlog-cosignature)."""

MAX_NOTE_BYTES: Final = 64 * 1024
_KEY_ID_BYTES: Final = 4
_TIME_BYTES: Final = 8
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_LINE: Final = re.compile(r"— (\S+) (\S+)")


class NoteError(ValueError):
    """It is no signed note, or no verifier key, or its signatures do not do; the text says why."""


class VerifierKey(NamedTuple):
    """A public key by which notes are verified, with the name that its signature lines bear.

    Attributes:
        algorithm: `ED25519` or `COSIGNATURE`.
    """

    name: str
    public_key: bytes
    algorithm: int = ED25519

    @property
    def key_id(self) -> bytes:
        """The four bytes that stand before a signature; with the name they tell whose it is."""
        material = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public_key
        return sha256(material).digest()[:_KEY_ID_BYTES]

    @property
    def text(self) -> str:
        """The key in one line, as notes' verifiers read it: `name+id+base64`."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.algorithm]) + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Read what `text` gives.

        Raises:
            NoteError: it is none, or of another algorithm.
        """
        name, _, rest = text.strip().partition("+")
        key_id, _, material = rest.partition("+")
        try:
            raw = decode_base64(material)
        except ValueError:
            raise NoteError("a verifier key is name+id+base64") from None
        if len(raw) != 1 + PUBLIC_KEY_BYTES or raw[0] not in (ED25519, COSIGNATURE):
            raise NoteError("the verifier key is not one for Ed25519")
        check_key_name(name)
        key = cls(name, raw[1:], raw[0])
        if key.key_id.hex() != key_id:
            raise NoteError("the verifier key's id is not that of its name and key")
        return key


class Signature(NamedTuple):
    """One line under a note.

    Attributes:
        time: of a cosignature, in seconds since 1970; else None.
        line: the whole line, with its newline.
    """

    key: VerifierKey
    time: int | None
    line: str


class Note(NamedTuple):
    """A text, with its final newline, and the lines under it, each with its newline."""

    text: str
    lines: tuple[str, ...]

    def encode(self) -> str:
        """The note as it is passed on."""
        return f"{self.text}\n{''.join(self.lines)}"


def check_key_name(name: str) -> str:
    """Let a name pass that a signature line can bear.

    Raises:
        NoteError: it is empty, or has a blank, a plus or a control character in it.
    """
    if not name or "+" in name or any(letter.isspace() or not letter.isprintable() for letter in name):
        raise NoteError("a key's name must have no blanks and no plus")
    return name


def parse_note(raw: str) -> Note:
    """Take a note apart. Nothing in it is to be believed before `verify_note`.

    Raises:
        NoteError: it is not a signed note.
    """
    if len(raw) > MAX_NOTE_BYTES or _CONTROL.search(raw):
        raise NoteError("the note is too long, or has control characters")
    text, gap, signatures = raw.rpartition("\n\n")
    if not gap or not text or not signatures.endswith("\n"):
        raise NoteError("a note is a text, an empty line and signature lines")
    lines = tuple(f"{line}\n" for line in signatures[:-1].split("\n"))
    if not all(_LINE.fullmatch(line[:-1]) for line in lines):
        raise NoteError("a line under the note is no signature line")
    return Note(f"{text}\n", lines)


def verify_note(note: Note, keys: Iterable[VerifierKey]) -> list[Signature]:
    """The signatures of known keys; lines of other keys are passed over.

    Raises:
        NoteError: a signature of a known key is wrong, or there is none at all.
    """
    known = {(key.name, key.key_id): key for key in keys}
    found: dict[tuple[str, bytes], Signature] = {}
    for line in note.lines:
        match = _LINE.fullmatch(line[:-1])
        if match is None:
            continue
        try:
            raw = decode_base64(match[2])
        except ValueError:
            raise NoteError("a signature is not base64") from None
        name = (match[1], raw[:_KEY_ID_BYTES])
        key = known.get(name)
        if key is None or name in found:
            continue
        found[name] = _verify_line(note.text, key, raw[_KEY_ID_BYTES:], line)
    if not found:
        raise NoteError("no known key has signed the note")
    return list(found.values())


def sign_note(text: str, name: str, key: SigningKey) -> Note:
    """Sign a text, which ends with a newline, under a name."""
    verifier = VerifierKey(name, key.public_key)
    return Note(text, (_line(name, verifier.key_id + key.sign(text.encode())),))


def cosign_note(text: str, name: str, key: SigningKey, time: int) -> str:
    """A witness's signature line for a checkpoint's text.

    Args:
        text: the note's text.
        name: of the witness.
        key: of the witness, which signs nothing but cosignatures.
        time: now, in seconds since 1970.
    """
    verifier = VerifierKey(name, key.public_key, COSIGNATURE)
    signature = key.sign(_cosigned(text, time))
    return _line(name, verifier.key_id + time.to_bytes(_TIME_BYTES, "big") + signature)


def join_lines(note: Note, lines: Sequence[str]) -> Note:
    """The note with more signature lines under it."""
    return note._replace(lines=(*note.lines, *(line for line in lines if line not in note.lines)))


def _verify_line(text: str, key: VerifierKey, raw: bytes, line: str) -> Signature:
    time, message, signature = None, text.encode(), raw
    if key.algorithm == COSIGNATURE:
        time = int.from_bytes(raw[:_TIME_BYTES], "big")
        message, signature = _cosigned(text, time), raw[_TIME_BYTES:]
        if time >= 1 << 63:
            raise NoteError(f"the signature of {key.name} has an impossible time")
    if not verify(key.public_key, message, signature):
        raise NoteError(f"the signature of {key.name} is wrong")
    return Signature(key, time, line)


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _line(name: str, raw: bytes) -> str:
    return f"— {name} {encode_base64(raw)}\n"
