"""Receipts on the wire: the receipt, the published keys, the verdict, and the event `receipts.issued`."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

import msgspec

from shared.contracts.usage import Instant

ReceiptKind = Literal["recorded", "superseding", "declared", "statement"]
"""`recorded`: this deployment accepted, priced and stored the usage. `superseding`: the same record with the
cost that was found later. `declared`: a client merely says so. `statement`: what receipts add up to."""

RECORDED: Final = "recorded"
SUPERSEDING: Final = "superseding"
DECLARED: Final = "declared"
STATEMENT: Final = "statement"
PAYLOAD_VERSION: Final = 1
MAX_RECEIPT_BYTES: Final = 64 * 1024

KeyStatus = Literal["current", "retired", "revoked"]
"""`current` signs; `retired` signed once and its receipts stay valid; `revoked` is no longer trusted."""

VerdictKeyStatus = Literal["current", "retired", "revoked", "revoked_after_issue"]
Reason = Literal[
    "malformed", "bad_signature", "unknown_key", "key_not_yet_valid", "key_expired", "key_revoked"
]


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A signed receipt. Exactly these members: whatever else stands beside them is under no signature.

    Attributes:
        receipt_id: also stands in the payload, as does `key_id`; `id` is the same once more.
        payload: the signed facts, as the very bytes that were signed.
        signature: base64 of the 64 bytes over the RFC 8785 form of `payload`.
    """

    receipt_id: str
    id: str
    payload: msgspec.Raw
    signature: str
    key_id: str
    algorithm: str = "Ed25519"


class ReceiptAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to `POST /api/v1/receipts`."""

    receipt_id: str
    signature: str
    receipt: Receipt


class ReceiptPage(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to `GET /api/v1/receipts`, newest usage first; `next` is the next page's cursor, or null.

    Attributes:
        superseded_by: of the receipts here that a newer one of the same record replaces, which one it is.
    """

    receipts: list[Receipt]
    next: str | None
    superseded_by: dict[str, str] = {}


class PublicKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One key of the published set.

    Attributes:
        public_key: base64 of the 32 bytes.
        not_before: the key was published then, before its first signature.
        not_after: the last instant at which it may have signed; null while it is current.
        revoked_at: present on a revoked key: nothing it signed from then on counts.
    """

    key_id: str
    algorithm: str
    public_key: str
    not_before: datetime
    not_after: datetime | None
    status: KeyStatus
    revoked_at: datetime | None = None


class PublicKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`public-keys.json`: every key that ever signed, and which one signs now."""

    keys: list[PublicKey]
    current_key_id: str | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to `POST /api/v1/receipts/verify`. It tells nothing that is not in the receipt itself."""

    valid: bool
    reason: Reason | None = None
    key_status: VerdictKeyStatus | None = None


class Inclusion(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to `GET /api/v1/receipts/{receipt_id}/proof`: the receipt is a leaf of the log.

    Attributes:
        leaf_index: its place, from 0. The leaf is the RFC 8785 form of the receipt's payload.
        tree_size: of the checkpoint.
        hashes: the audit path (RFC 9162, section 2.1.3), from the leaf's sibling upwards, in base64.
        checkpoint: the signed note over the tree.
    """

    leaf_index: int
    tree_size: int
    hashes: list[str]
    checkpoint: str


class Consistency(msgspec.Struct, frozen=True, kw_only=True, rename={"old_size": "from", "tree_size": "to"}):
    """Answer to `GET /api/v1/receipts/consistency`: the log of one size begins with that of another.

    Attributes:
        hashes: the proof (RFC 9162, section 2.1.4), in base64.
        checkpoint: the signed note over the larger tree, where that is the newest one; else null.
    """

    old_size: int
    tree_size: int
    hashes: list[str]
    checkpoint: str | None


CheckVerdict = Literal["passed", "failed", "unavailable", "not_applicable"]


class Check(msgspec.Struct, frozen=True):
    """One thing that was checked of a receipt.

    Attributes:
        check: `signature`, `inclusion`, `cost` or `record`.
        detail: what was found, for a person.
    """

    check: str
    verdict: CheckVerdict
    detail: str


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to `GET /api/v1/receipts/{receipt_id}/audit`.

    Attributes:
        valid: no check failed.
        complete: every check could be made.
        superseded_by: the newer receipt of the same record, or null.
    """

    receipt_id: str
    valid: bool
    complete: bool
    superseded_by: str | None
    checks: list[Check]


class CosignaturesTaken(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to `POST /api/v1/receipts/cosignatures`: whose lines were taken, of which checkpoint."""

    tree_size: int
    witnesses: list[str]


class WitnessState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a witness is.

    Attributes:
        verifier_key: to verify its cosignatures with (C2SP signed-note).
        tree_size: of the largest checkpoint that it cosigned; 0 for none.
        cosigned_at: when it did, by its own clock.
        behind: how many leaves the log has more.
        waiting_s: for how many seconds it has been asked for a larger one; null where it has cosigned all.
        overdue: that is longer than it may be.
    """

    name: str
    verifier_key: str
    tree_size: int
    cosigned_at: datetime | None
    behind: int
    waiting_s: float | None
    overdue: bool


class WitnessStates(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to `GET /api/v1/receipts/witnesses`.

    Attributes:
        tree_size: of the log.
        witnessed_size: of the newest checkpoint that `quorum` of the witnesses have cosigned; null for none.
    """

    tree_size: int
    witnessed_size: int | None
    quorum: int
    witnesses: list[WitnessState]


class ReceiptIssued(msgspec.Struct, frozen=True, kw_only=True):
    """Event `receipts.issued`, keyed by account. Sent at least once: tell repeats by `receipt_id`.

    An event of a transaction that then failed names a receipt that does not exist; its `account_sequence` is
    given to another one. `payload_sha256` is the hash of the signed bytes, which the event does not carry.
    `supersedes` names the receipt of the same record that this one replaces, if there is one.
    """

    v: int = 1
    receipt_id: UUID
    account_id: UUID
    kind: ReceiptKind
    log_id: UUID | None
    account_sequence: int
    key_id: str
    payload_sha256: str
    issued_at: Instant
    supersedes: UUID | None = None
