"""Signed notes, checkpoints and cosignatures, and what readers of others' making say to them."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.proofs.signing import SigningKey
from shared.proofs.tlog.checkpoint import Checkpoint, open_checkpoint
from shared.proofs.tlog.hashing import EMPTY_ROOT, hash_leaf
from shared.proofs.tlog.note import (
    COSIGNATURE,
    NoteError,
    VerifierKey,
    cosign_note,
    join_lines,
    parse_note,
    sign_note,
    verify_note,
)
from shared.proofs.tlog.proofs import carry_out, plan_consistency, plan_inclusion
from tests.proofs.stranger import ask_stranger
from tests.proofs.test_tlog import ENTRIES, LARGEST, NODES, ROOTS

ORIGIN = "receipts.example/log"
LOG = SigningKey.from_seed(bytes([7]) * 32)
WITNESS = SigningKey.from_seed(bytes([8]) * 32)
LOG_KEY = VerifierKey(ORIGIN, LOG.public_key)
WITNESS_KEY = VerifierKey("witness.example/w1", WITNESS.public_key, COSIGNATURE)
NOW = 1_800_000_000


def cosigned(size: int) -> str:
    """A checkpoint of the tests' tree, signed by its log and by a witness."""
    note = Checkpoint(ORIGIN, size, ROOTS[size]).sign(LOG)
    return join_lines(note, [cosign_note(note.text, WITNESS_KEY.name, WITNESS, NOW)]).encode()


def test_a_checkpoint_says_who_signed_it_and_when() -> None:
    opened = open_checkpoint(cosigned(9), ORIGIN, [LOG_KEY, WITNESS_KEY])
    assert opened.checkpoint == Checkpoint(ORIGIN, 9, ROOTS[9])
    assert [(each.key, each.time) for each in opened.signatures] == [(LOG_KEY, None), (WITNESS_KEY, NOW)]


def test_a_signature_of_an_unknown_key_says_nothing() -> None:
    assert len(open_checkpoint(cosigned(9), ORIGIN, [LOG_KEY]).signatures) == 1
    with pytest.raises(NoteError, match="itself has not signed"):
        open_checkpoint(cosigned(9), ORIGIN, [WITNESS_KEY])
    with pytest.raises(NoteError, match="no known key"):
        open_checkpoint(cosigned(9), ORIGIN, [VerifierKey(ORIGIN, WITNESS.public_key)])


def test_a_checkpoint_of_another_log_is_refused() -> None:
    with pytest.raises(NoteError, match=r"is of receipts\.example/log"):
        open_checkpoint(cosigned(9), "other.example/log", [LOG_KEY])


@given(st.integers(0), st.integers(1, 255))
def test_a_changed_byte_anywhere_in_a_checkpoint_is_refused(place: int, change: int) -> None:
    raw = bytearray(cosigned(77).encode())
    raw[place % len(raw)] ^= change
    try:
        opened = open_checkpoint(raw.decode(), ORIGIN, [LOG_KEY, WITNESS_KEY])
    except ValueError:  # NoteError, or no UTF-8
        return
    # Only the name or id in one of the lines: then it is the line of a key that nobody knows.
    assert opened.checkpoint == Checkpoint(ORIGIN, 77, ROOTS[77])
    assert [each.key for each in opened.signatures] == [LOG_KEY]


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n01\n{b64encode(ROOTS[1]).decode()}\n",
        f"{ORIGIN}\n-1\n{b64encode(ROOTS[1]).decode()}\n",
        f"{ORIGIN}\n9223372036854775808\n{b64encode(ROOTS[1]).decode()}\n",
        f"{ORIGIN}\n1\n{b64encode(ROOTS[1][:31]).decode()}\n",
        f"{ORIGIN}\n1\n{b64encode(ROOTS[1]).decode().rstrip('=')}\n",
        f"{ORIGIN}\n0\n{b64encode(ROOTS[1]).decode()}\n",
        f"{ORIGIN}\n1\n",
        f"{ORIGIN}\n1\n{b64encode(ROOTS[1]).decode()}\n\nmore\n",
    ],
)
def test_what_is_no_checkpoint_is_refused_although_it_is_signed(text: str) -> None:
    with pytest.raises(NoteError):
        open_checkpoint(sign_note(text, ORIGIN, LOG).encode(), ORIGIN, [LOG_KEY])


def test_extension_lines_are_signed_and_let_be() -> None:
    text = f"{ORIGIN}\n1\n{b64encode(ROOTS[1]).decode()}\nmore\n"
    opened = open_checkpoint(sign_note(text, ORIGIN, LOG).encode(), ORIGIN, [LOG_KEY])
    assert opened.checkpoint == Checkpoint(ORIGIN, 1, ROOTS[1])


@pytest.mark.parametrize(
    "raw",
    ["", "\n\n", "text\n", "text\n\n", "text\n\nname sig\n", "text\n\n— a b", "te\0xt\n\n— a b\n", "— a b\n"],
)
def test_what_is_no_note_is_refused(raw: str) -> None:
    with pytest.raises(NoteError):
        parse_note(raw)


def test_the_example_of_the_signed_note_specification_is_read() -> None:
    example = (
        "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
        "— quasimodo.example/salvatore "
        "NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
    )
    note = parse_note(example)
    assert note.text.endswith("ed è subito sera.\n")
    assert note.encode() == example


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\nb", "a\x7fb"])
def test_a_key_name_has_no_blanks_and_no_plus(name: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey.parse(VerifierKey(name, LOG.public_key).text)


def test_a_verifier_key_is_read_only_as_it_was_written() -> None:
    for key in (LOG_KEY, WITNESS_KEY):
        assert VerifierKey.parse(key.text) == key
        for at, letter in enumerate(key.text):
            changed = key.text[:at] + ("A" if letter != "A" else "B") + key.text[at + 1 :]
            with pytest.raises(NoteError):
                VerifierKey.parse(changed)


def test_a_cosignature_is_for_its_own_second_alone() -> None:
    note = Checkpoint(ORIGIN, 0, EMPTY_ROOT).sign(LOG)
    line = cosign_note(note.text, WITNESS_KEY.name, WITNESS, NOW)
    later = cosign_note(note.text, WITNESS_KEY.name, WITNESS, NOW + 1)
    assert line != later
    assert [each.time for each in verify_note(join_lines(note, [later]), [WITNESS_KEY])] == [NOW + 1]


def test_verifiers_of_others_accept_what_we_sign_and_prove(stranger: Path) -> None:
    shown = everything_shown()
    lines = ask_stranger(stranger, shown)
    assert len(lines) == sum(len(shown[name]) for name in ("checkpoints", "inclusions", "consistencies"))
    assert lines[0] == "checkpoint 300: 2 signatures"


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("inclusions", {"entry": b64encode(b"another").decode()}, "invalid"),
        ("inclusions", {"root": b64encode(ROOTS[5]).decode()}, "invalid"),
        ("consistencies", {"old_root": b64encode(hash_leaf(b"another")).decode()}, "invalid"),
    ],
)
def test_verifiers_of_others_would_notice(
    stranger: Path, kind: str, change: dict[str, str], reason: str
) -> None:
    shown = everything_shown()
    shown[kind][7] |= change
    with pytest.raises(ValueError, match=reason):
        ask_stranger(stranger, shown)


def everything_shown() -> dict[str, Any]:
    """Checkpoints and proofs of trees of many sizes, as the Go program reads them."""

    def texts(hashes: list[bytes]) -> list[str]:
        return [b64encode(each).decode() for each in hashes]

    sizes = range(2, LARGEST + 1, 13)
    return {
        "origin": ORIGIN,
        "log_key": LOG_KEY.text,
        "witness_keys": [WITNESS_KEY.text],
        "checkpoints": [cosigned(size) for size in (300, 1, 0, 255, 256)],
        "inclusions": [
            {
                "entry": b64encode(ENTRIES[index]).decode(),
                "index": index,
                "size": size,
                "root": b64encode(ROOTS[size]).decode(),
                "proof": texts(carry_out(plan_inclusion(index, size), NODES)),
            }
            for size in sizes
            for index in range(0, size, 17)
        ],
        "consistencies": [
            {
                "old_size": old,
                "size": size,
                "old_root": b64encode(ROOTS[old]).decode(),
                "root": b64encode(ROOTS[size]).decode(),
                "proof": texts(carry_out(plan_consistency(old, size), NODES)),
            }
            for size in sizes
            for old in range(1, size + 1, 19)
        ],
    }
