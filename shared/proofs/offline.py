"""The verdict on a receipt from saved files alone: no server, no network, no clock.

A signature says who stated something; the log says that it was stated to everybody alike; cosignatures say
that outsiders saw the log so; consistency says that the log is still the one that was seen before.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from shared.contracts.receipts import Inclusion
from shared.proofs.canonical import canonical_bytes
from shared.proofs.evidence import Evidence
from shared.proofs.receipt import KeySet, find_shown_receipt, verify_parsed
from shared.proofs.signing import key_id_of
from shared.proofs.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from shared.proofs.tlog.hashing import hash_leaf
from shared.proofs.tlog.note import COSIGNATURE, ED25519, NoteError, VerifierKey
from shared.proofs.tlog.proofs import verify_consistency, verify_inclusion
from shared.proofs.tlog.tlog_proof import decode_hashes

Outcome = Literal["passed", "failed", "not_checked"]
CheckName = Literal[
    "keys", "signature", "log_keys", "checkpoint", "inclusion", "key_validity", "witnesses", "consistency"
]
FROM_THE_FILE: Final = (
    "they came with the file itself: that is the word of whoever made it. Compare them with what you have "
    "from elsewhere, or give your own"
)
_STRICT: Final = frozenset({"keys", "log_keys", "checkpoint", "inclusion"})
_UNSIGNED: Final = ("malformed", "bad_signature", "unknown_key")

_SAYINGS: Final = {
    "malformed": "this is no receipt",
    "bad_signature": "the signature is not one over this receipt",
    "unknown_key": "it is signed by a key that is not among the keys",
    "key_expired": "it says that it was issued after its key's last day",
    "key_not_yet_valid": "it says that it was issued before its key was published",
    "key_revoked": "it was not issued before its key was revoked",
}


class Check(msgspec.Struct, frozen=True):
    """One question, how it came out, and why."""

    name: CheckName
    outcome: Outcome
    reason: str


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict.

    Attributes:
        valid: the signature is good and no check failed. What was not checked is told in `checks`.
        receipt_id: of the receipt, if it is one.
        reason: why there is nothing to check, where there is not.
    """

    valid: bool
    receipt_id: str | None
    checks: list[Check]
    reason: str | None = None


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller knows from elsewhere, and what it insists on.

    Attributes:
        keys: by which receipts are judged; None to take those of the file.
        log_keys: of the log (type 0x01), whose name is its origin; empty to take those of the file.
        witnesses: keys of type 0x04.
        witnesses_needed: how many of them must have cosigned the checkpoint.
        old_checkpoint: one that the caller kept; the log must still be the same one.
        strict: keys of the file do not do, and there must be a proof.
    """

    keys: KeySet | None = None
    log_keys: tuple[VerifierKey, ...] = ()
    witnesses: tuple[VerifierKey, ...] = ()
    witnesses_needed: int = 0
    old_checkpoint: str | None = None
    strict: bool = False


def check_trust(trust: Trust) -> None:
    """Let pass what makes sense.

    Raises:
        ValueError: a key is of the wrong type, a witness is the log itself, or more are needed than known.
    """
    if any(key.algorithm != ED25519 for key in trust.log_keys):
        raise ValueError("a log's key is of type 0x01; this one is a witness's")
    if any(key.algorithm != COSIGNATURE for key in trust.witnesses):
        raise ValueError("a witness's key is of type 0x04")
    logs = {key.public_key for key in trust.log_keys}
    if any(key.public_key in logs for key in trust.witnesses):
        raise ValueError("the log cannot be its own witness")
    if not 0 <= trust.witnesses_needed <= len({key.public_key for key in trust.witnesses}):
        raise ValueError("more witnesses are needed than are known")


def verify_offline(evidence: Evidence, trust: Trust) -> Judgement:
    """Judge a receipt by what was saved with it and what the caller knows.

    A receipt of a revoked key counts only if the log has it: its own time is the word of whoever holds the
    key. A checkpoint of a revoked key counts only if a known witness saw it before.

    Args:
        evidence: what is shown.
        trust: what `check_trust` lets pass.
    """
    return _Verifier(evidence, trust).judge()


class _UncheckedError(Exception):
    """A question that was not asked, or that nothing can answer; the text says why."""


class _Verifier:
    """Asks one question after the other; each method gives the reason why its check passed."""

    def __init__(self, evidence: Evidence, trust: Trust) -> None:
        self._evidence = evidence
        self._trust = trust
        shown = evidence.public_keys
        self._keys = trust.keys or KeySet(shown.keys if shown else ())
        self._log_keys = trust.log_keys or evidence.log_keys
        self._receipt = find_shown_receipt(evidence.receipt)
        self._verdict = verify_parsed(evidence.receipt, self._keys)
        self._opened: SignedCheckpoint | None = None
        self._has_inclusion = False

    def judge(self) -> Judgement:
        questions: dict[CheckName, Callable[[], str]] = {
            "keys": self._ask_keys,
            "signature": self._ask_signature,
            "log_keys": self._ask_log_keys,
            "checkpoint": self._ask_checkpoint,
            "inclusion": self._ask_inclusion,
            # After the log, which alone tells whether a receipt of a revoked key was there already.
            "key_validity": self._ask_key_validity,
            "witnesses": self._ask_witnesses,
            "consistency": self._ask_consistency,
        }
        checks = [self._ask(name, question) for name, question in questions.items()]
        return Judgement(
            valid=all(check.outcome != "failed" for check in checks),
            receipt_id=self._receipt["receipt_id"] if self._receipt else None,
            checks=checks,
        )

    def _ask(self, name: CheckName, question: Callable[[], str]) -> Check:
        try:
            return Check(name, "passed", question())
        except _UncheckedError as error:
            is_enough = not self._trust.strict or name not in _STRICT
            return Check(name, "not_checked" if is_enough else "failed", str(error))
        except ValueError as error:  # also NoteError and CanonicalError
            return Check(name, "failed", str(error))

    def _ask_keys(self) -> str:
        return _tell_source(self._trust.keys is not None, self._evidence.public_keys is not None)

    def _ask_log_keys(self) -> str:
        self._require_proof()
        return _tell_source(bool(self._trust.log_keys), bool(self._evidence.log_keys))

    def _ask_signature(self) -> str:
        if self._verdict.reason in _UNSIGNED:
            raise ValueError(_SAYINGS[self._verdict.reason])
        return "it is one over every byte of the payload"

    def _ask_key_validity(self) -> str:
        reason, status = self._verdict.reason, self._verdict.key_status
        if reason in _UNSIGNED:
            raise _UncheckedError("there is no good signature")
        if reason is not None:
            raise ValueError(_SAYINGS[reason])
        if status != "revoked_after_issue":
            return f"the key is {status}"
        if not self._has_inclusion:
            raise ValueError(
                "the key was revoked, and only its holder says that the receipt is older: prove that the log "
                "has it"
            )
        return "the key was revoked later, and the log has the receipt"

    def _ask_checkpoint(self) -> str:
        opened = self._open(self._require_proof().checkpoint)
        self._require_unrevoked(opened)
        self._opened = opened
        return f"{opened.checkpoint.origin} signed its {opened.checkpoint.size} leaves"

    def _ask_inclusion(self) -> str:
        proof = self._require_proof()
        checkpoint = self._require_opened().checkpoint
        if self._receipt is None:
            raise ValueError("there is no receipt to look for")
        leaf = hash_leaf(canonical_bytes(self._receipt["payload"]))
        hashes = decode_hashes(proof.hashes)
        if proof.tree_size != checkpoint.size or not verify_inclusion(
            leaf, proof.leaf_index, proof.tree_size, hashes, checkpoint.root
        ):
            raise ValueError("the proof does not lead from this receipt to the checkpoint's root")
        self._has_inclusion = True
        return f"it is leaf {proof.leaf_index} of {proof.tree_size}, counted from 0"

    def _ask_witnesses(self) -> str:
        needed = self._trust.witnesses_needed
        if not needed:
            raise _UncheckedError("not asked for")
        # Who holds the log's key can be no witness of it.
        outsiders = {key.public_key for key in self._trust.witnesses} - {
            key.public_key for key in self._log_keys
        }
        signatures = self._require_opened().signatures
        seen = outsiders & {each.key.public_key for each in signatures if each.time is not None}
        told = f"{len(seen)} of {len(outsiders)} known witnesses cosigned the checkpoint, {needed} needed"
        if len(seen) < needed:
            raise ValueError(told)
        return told

    def _ask_consistency(self) -> str:
        if self._trust.old_checkpoint is None:
            raise _UncheckedError("not asked for")
        checkpoint = self._require_opened().checkpoint
        kept = self._open(self._trust.old_checkpoint).checkpoint
        if kept.origin != checkpoint.origin:
            raise ValueError(f"the kept checkpoint is of {kept.origin}, not of {checkpoint.origin}")
        old, new = sorted((kept, checkpoint), key=lambda each: each.size)
        hashes = self._read_consistency(old, new)
        if not verify_consistency(old.size, new.size, old.root, new.root, hashes):
            raise ValueError("the log is not the one that it was: keep both checkpoints, they are the proof")
        return f"the log of {new.size} leaves begins with that of {old.size}"

    def _read_consistency(self, old: Checkpoint, new: Checkpoint) -> Sequence[bytes]:
        shown = self._evidence.consistency
        if shown is None:
            if 0 < old.size < new.size:
                raise ValueError(f"a proof is needed that leads from {old.size} leaves to {new.size}")
            return ()
        if (shown.old_size, shown.tree_size) != (old.size, new.size):
            told = f"{shown.old_size} to {shown.tree_size}, not from {old.size} to {new.size}"
            raise ValueError(f"the proof of consistency leads from {told}")
        if shown.checkpoint is not None and self._open(shown.checkpoint).checkpoint != new:
            raise ValueError("the proof of consistency comes with another checkpoint")
        return decode_hashes(shown.hashes)

    def _require_proof(self) -> Inclusion:
        if self._evidence.proof is not None:
            return self._evidence.proof
        raise _UncheckedError("no proof was given")

    def _require_opened(self) -> SignedCheckpoint:
        if self._opened is not None:
            return self._opened
        raise ValueError("there is no good checkpoint")

    def _open(self, raw: str) -> SignedCheckpoint:
        if not self._log_keys:
            raise NoteError("there is no key of the log to check it by")
        # The log is the one whose key we hold, whatever a checkpoint calls itself.
        origins = [key.name for key in self._log_keys]
        named = raw.split("\n", 1)[0]
        origin = named if named in origins else origins[0]
        return open_checkpoint(raw, origin, [*self._log_keys, *self._trust.witnesses])

    def _require_unrevoked(self, opened: SignedCheckpoint) -> None:
        seen = [each.time for each in opened.signatures if each.time is not None]
        for each in opened.signatures:
            if each.time is not None:
                continue
            key = self._keys.find(key_id_of(each.key.public_key))
            if key is None or key.status != "revoked":
                return
            if key.revoked_at is not None and seen and min(seen) < key.revoked_at.timestamp():
                return
        raise NoteError("the log's key was revoked, and no known witness saw the checkpoint before")


def _tell_source(is_given: bool, is_in_file: bool) -> str:
    if is_given:
        return "given by the caller"
    if is_in_file:
        raise _UncheckedError(FROM_THE_FILE)
    raise ValueError("there are none, neither in the file nor from the caller")
