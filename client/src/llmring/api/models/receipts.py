"""Receipts, the keys that they are judged by, and proofs that they are in the log."""

from datetime import datetime
from typing import Any

import msgspec


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A signed receipt. Amounts in its payload are decimal strings.

    Attributes:
        id: the same as `receipt_id`.
        payload: the signed facts.
        signature: base64 over the RFC 8785 form of `payload`.
    """

    receipt_id: str
    id: str
    payload: dict[str, Any]
    signature: str
    key_id: str
    algorithm: str


class ReceiptAnswer(msgspec.Struct, frozen=True):
    """Answer to the issue of a receipt."""

    receipt: Receipt


class PublicKey(msgspec.Struct, frozen=True, kw_only=True):
    """One published key. `status` is `current`, `retired` or `revoked`."""

    key_id: str
    algorithm: str
    public_key: str
    not_before: datetime
    not_after: datetime | None = None
    status: str
    revoked_at: datetime | None = None


class PublicKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`public-keys.json`: every key that ever signed."""

    keys: list[PublicKey]
    current_key_id: str | None = None


class InclusionProof(msgspec.Struct, frozen=True, kw_only=True):
    """That a receipt is in the log.

    Attributes:
        leaf_index: from 0.
        hashes: the audit path (RFC 9162, section 2.1.3) in base64.
        checkpoint: the signed note over the tree.
    """

    leaf_index: int
    tree_size: int
    hashes: list[str]
    checkpoint: str


class ReceiptBundle(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to check a receipt, in one document. Its keys are the word of whoever made it."""

    format: str
    receipt: Receipt
    proof: InclusionProof
    public_keys: PublicKeys
    verifier_keys: list[str] = []
