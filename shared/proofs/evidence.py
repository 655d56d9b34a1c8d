"""Reading what somebody saved: receipts, bundles, proofs. Nothing read here is believed yet.

Every file has one meaning: members that stand twice, members that are not known and other spellings of a
value are refused.
"""

from typing import Any, Final, Literal, TypeVar

import msgspec

from shared.contracts.receipts import Consistency, Inclusion, PublicKeys
from shared.proofs.signing import encode_base64
from shared.proofs.strict_json import parse_strict
from shared.proofs.tlog.checkpoint import Checkpoint
from shared.proofs.tlog.note import NoteError, VerifierKey, parse_note
from shared.proofs.tlog.tlog_proof import HEADER, TlogProof

MAX_FILE_BYTES: Final = 1024 * 1024

T = TypeVar("T")


class EvidenceError(ValueError):
    """The file is not what it should be; the text says why."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown to prove a receipt.

    Attributes:
        receipt: any JSON that is said to be a receipt.
        proof: that it is in the log.
        consistency: that the log of the proof and an older one are the same.
        public_keys: the keys that came along: the word of whoever made the file.
        log_keys: likewise, those of the log.
    """

    receipt: Any
    proof: Inclusion | None = None
    consistency: Consistency | None = None
    public_keys: PublicKeys | None = None
    log_keys: tuple[VerifierKey, ...] = ()


class _Bundle(msgspec.Struct, frozen=True, kw_only=True):
    format: Literal["llmring-receipt-bundle/1"]
    receipt: dict[str, Any]
    proof: Inclusion
    public_keys: PublicKeys
    verifier_keys: list[str]
    consistency: Consistency | None


def read_evidence(raw: bytes) -> Evidence:
    """Read a receipt, the answer of `POST /api/v1/receipts`, or a bundle.

    Raises:
        EvidenceError: it is no JSON, has two meanings, or is a bundle that is none.
    """
    shown = _parse(raw)
    if not isinstance(shown, dict) or "format" not in shown:
        return Evidence(receipt=shown)
    bundle = _convert(shown, _Bundle, "bundle")
    try:
        log_keys = tuple(_parse_key(text) for text in bundle.verifier_keys)
    except NoteError as error:
        raise EvidenceError(f"the bundle's verifier keys: {error}") from None
    return Evidence(
        receipt=bundle.receipt,
        proof=bundle.proof,
        consistency=bundle.consistency,
        public_keys=bundle.public_keys,
        log_keys=log_keys,
    )


def read_proof(raw: bytes) -> Inclusion:
    """Read a proof of inclusion: the JSON that the server answers with, or a C2SP tlog-proof.

    Raises:
        EvidenceError: it is neither.
    """
    if not raw.startswith(HEADER.encode()):
        return _convert(_parse(raw), Inclusion, "proof")
    _check_size(raw)
    try:
        proof = TlogProof.parse(raw.decode())
        size = Checkpoint.parse(parse_note(proof.checkpoint).text).size
    except ValueError as error:  # also NoteError and UnicodeDecodeError
        raise EvidenceError(f"the proof cannot be read: {error}") from None
    return Inclusion(
        leaf_index=proof.leaf_index,
        tree_size=size,
        hashes=[encode_base64(each) for each in proof.hashes],
        checkpoint=proof.checkpoint,
    )


def read_consistency(raw: bytes) -> Consistency:
    """Read the answer of `GET /api/v1/receipts/consistency`.

    Raises:
        EvidenceError: it is none.
    """
    return _convert(_parse(raw), Consistency, "proof of consistency")


def read_public_keys(raw: bytes) -> PublicKeys:
    """Read a saved `public-keys.json`. Members of a later version are passed over.

    Raises:
        EvidenceError: it is none.
    """
    try:
        return msgspec.convert(_parse(raw), PublicKeys)
    except msgspec.ValidationError as error:
        raise EvidenceError(f"these are no public keys: {error}") from None


def _parse(raw: bytes) -> Any:  # noqa: ANN401 - any JSON value
    _check_size(raw)
    try:
        return parse_strict(raw)
    except ValueError as error:
        raise EvidenceError(f"the file {error}") from None


def _check_size(raw: bytes) -> None:
    if len(raw) > MAX_FILE_BYTES:
        raise EvidenceError(f"the file is larger than {MAX_FILE_BYTES} bytes")


def _convert(shown: object, kind: type[T], name: str) -> T:
    try:
        found = msgspec.convert(shown, kind)
        # What comes out must be what went in: nothing passed over, nothing spelled otherwise.
        is_exact = msgspec.to_builtins(found) == shown
    except msgspec.ValidationError as error:
        raise EvidenceError(f"the file is no {name}: {error}") from None
    except RecursionError:
        raise EvidenceError(f"the file is no {name}: it is nested too deeply") from None
    if not is_exact:
        raise EvidenceError(f"the file is no {name}: it has members or spellings that a {name} has not")
    return found


def _parse_key(text: str) -> VerifierKey:
    key = VerifierKey.parse(text)
    if key.text != text:
        raise NoteError("a verifier key has one spelling")
    return key
