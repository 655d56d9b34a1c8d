"""The verdict on a receipt from what is at hand: no server, no clock, and no code of the server.

A signature says who stated something; the place in the log says that it was stated to everybody alike.
"""

import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from llmring.api.canonical import canonical_bytes
from llmring.api.models.receipts import InclusionProof, PublicKey, PublicKeys, Receipt, ReceiptBundle
from llmring.api.problems import read_instant

Outcome = Literal["passed", "failed", "not_checked"]

_MEMBERS: Final = frozenset({"receipt_id", "id", "payload", "signature", "key_id", "algorithm"})
_CLOCKS_APART: Final = timedelta(minutes=5)
_LINE: Final = re.compile("— (\\S+) (\\S+)")
_SIZE: Final = re.compile(r"0|[1-9]\d{0,18}", re.ASCII)
_SIGNED_NOTE_ED25519: Final = b"\x01"


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict.

    Attributes:
        valid: the signature is good, its key might sign then, and the place in the log, if there is a proof
            of it.
        reason: why not.
        signature: by one of the keys, and at a time when it might.
        inclusion: the receipt is a leaf of the log whose signed checkpoint is in the proof.
    """

    valid: bool
    reason: str | None = None
    signature: Outcome = "not_checked"
    inclusion: Outcome = "not_checked"


class _WrongError(ValueError):
    """The receipt, or its proof, does not hold; the text says why."""


def judge(
    shown: Receipt | ReceiptBundle | Mapping[str, Any] | str | bytes,
    keys: PublicKeys,
    *,
    proof: InclusionProof | None = None,
    log_origin: str | None = None,
) -> Judgement:
    """Judge a receipt. Nothing that is shown can make this fail.

    Args:
        shown: a receipt, the answer that brought it, or a bundle; read, or as JSON.
        keys: to judge by.
        proof: that it is in the log; a bundle brings its own.
        log_origin: the name that the log must have; by default any, if one of `keys` has signed for it.
    """
    try:
        receipt, own_proof = _take_apart(shown)
        payload = _signed_payload(receipt, keys)
    except (_WrongError, RecursionError) as error:
        return Judgement(valid=False, reason=str(error), signature="failed")
    if (proof := proof or own_proof) is None:
        return Judgement(valid=True, signature="passed")
    try:
        _check_inclusion(payload, proof, keys, log_origin)
    except _WrongError as error:
        return Judgement(valid=False, reason=str(error), signature="passed", inclusion="failed")
    return Judgement(valid=True, signature="passed", inclusion="passed")


def signer_of(shown: Receipt | ReceiptBundle | Mapping[str, Any] | str | bytes) -> str | None:
    """The name of the key that is said to have signed, or None."""
    try:
        key_id = _take_apart(shown)[0].get("key_id")
    except (_WrongError, RecursionError):
        return None
    return key_id if isinstance(key_id, str) else None


def _take_apart(shown: object) -> tuple[dict[str, Any], InclusionProof | None]:
    if isinstance(shown, bytes | str):
        try:
            shown = json.loads(shown, object_pairs_hook=_unique)
        except ValueError as error:
            raise _WrongError(f"it cannot be read: {error}") from None
    try:
        shown = msgspec.to_builtins(shown)
    except (TypeError, ValueError) as error:
        raise _WrongError(f"it is no JSON: {error}") from None
    proof = None
    if isinstance(shown, dict) and isinstance(shown.get("receipt"), dict) and "payload" not in shown:
        if (found := shown.get("proof")) is not None:
            try:
                proof = msgspec.convert(found, InclusionProof)
            except msgspec.ValidationError as error:
                raise _WrongError(f"its proof cannot be read: {error}") from None
        shown = shown["receipt"]
    if not isinstance(shown, dict) or shown.keys() != _MEMBERS or not isinstance(shown["payload"], dict):
        raise _WrongError("it is no receipt: one has exactly the members " + ", ".join(sorted(_MEMBERS)))
    if not all(isinstance(shown[name], str) for name in _MEMBERS - {"payload"}):
        raise _WrongError("it is no receipt: a member is not a text")
    return shown, proof


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member stands twice in one object")  # readers disagree on which one counts
    return found


def _signed_payload(receipt: dict[str, Any], keys: PublicKeys) -> bytes:
    payload = receipt["payload"]
    if (
        receipt["algorithm"] != "Ed25519"
        or receipt["id"] != receipt["receipt_id"]
        or payload.get("receipt_id") != receipt["receipt_id"]
        or payload.get("key_id") != receipt["key_id"]
    ):
        raise _WrongError("what stands beside the payload is not what the payload says")
    key = next((each for each in keys.keys if each.key_id == receipt["key_id"]), None)
    if key is None or key.algorithm != "Ed25519":
        raise _WrongError("it is signed by a key that is not among the keys")
    try:
        signed = canonical_bytes(payload)
    except ValueError as error:
        raise _WrongError(f"its payload cannot have been signed: {error}") from None
    if not _is_signed(_base64(key.public_key), signed, _base64(receipt["signature"])):
        raise _WrongError("the signature is not one over this payload")
    _check_time(key, read_instant(payload.get("issued_at")))
    return signed


def _check_time(key: PublicKey, issued_at: datetime | None) -> None:
    if issued_at is None:
        raise _WrongError("it does not say when it was issued")
    if key.status == "revoked" and (key.revoked_at is None or issued_at >= key.revoked_at):
        raise _WrongError("it was not issued before its key was revoked")
    if key.not_before - issued_at > _CLOCKS_APART:
        raise _WrongError("it says that it was issued before its key was published")
    if key.not_after is not None and key.status != "revoked" and issued_at > key.not_after:
        raise _WrongError("it says that it was issued after its key's last day")


def _check_inclusion(leaf: bytes, proof: InclusionProof, keys: PublicKeys, origin: str | None) -> None:
    size, root = _open_checkpoint(proof.checkpoint, keys, origin)
    if size != proof.tree_size:
        raise _WrongError("the proof is for a tree of another size than its checkpoint")
    at, last = proof.leaf_index, size - 1
    if not 0 <= at <= last:
        raise _WrongError("the log has no such leaf")
    found = sha256(b"\x00" + leaf).digest()
    for text in proof.hashes:  # RFC 9162, section 2.1.3.2
        sibling = _base64(text)
        if last == 0:
            raise _WrongError("the proof is too long")
        if at & 1 or at == last:
            found = sha256(b"\x01" + sibling + found).digest()
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = sha256(b"\x01" + found + sibling).digest()
        at, last = at >> 1, last >> 1
    if last or found != root:
        raise _WrongError("the receipt is not in the log at that place")


def _open_checkpoint(note: str, keys: PublicKeys, origin: str | None) -> tuple[int, bytes]:
    """Size and root of a signed checkpoint (C2SP tlog-checkpoint, signed-note)."""
    text, gap, below = note.rpartition("\n\n")
    lines = f"{text}\n".split("\n")[:-1]
    try:
        signed = f"{text}\n".encode()
    except UnicodeEncodeError:
        raise _WrongError("the checkpoint holds a lone surrogate") from None
    if not gap or len(lines) < 3 or not all(lines) or not _SIZE.fullmatch(lines[1]):
        raise _WrongError("the checkpoint cannot be read")
    if origin is not None and lines[0] != origin:
        raise _WrongError(f"the checkpoint is of the log {lines[0]}")
    signatures = [match for line in below.splitlines() if (match := _LINE.fullmatch(line))]
    for key in keys.keys:
        public = _base64(key.public_key)
        # Four bytes tell whose signature it is; they are no secret and prove nothing.
        hint = sha256(lines[0].encode() + b"\n" + _SIGNED_NOTE_ED25519 + public).digest()[:4]
        for name, encoded in (match.groups() for match in signatures):
            raw = _base64(encoded)
            if name == lines[0] and raw[:4] == hint and _is_signed(public, signed, raw[4:]):
                return int(lines[1]), _base64(lines[2])
    raise _WrongError("none of the keys has signed the checkpoint")


def _is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if not data or base64.b64encode(data).decode() != text:  # one value has one spelling
        raise _WrongError("it holds something that is not base64")
    return data
