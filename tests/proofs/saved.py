"""A small log of signed receipts, as somebody would have saved it; made without any server."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from shared.contracts.evidence import Bundle
from shared.contracts.receipts import Consistency, Inclusion, PublicKey, PublicKeys, Receipt
from shared.proofs.canonical import canonical_bytes
from shared.proofs.receipt import build_receipt, sign_payload
from shared.proofs.signing import SigningKey, encode_base64
from shared.proofs.tlog.checkpoint import Checkpoint
from shared.proofs.tlog.hashing import Node, hash_leaf
from shared.proofs.tlog.note import COSIGNATURE, VerifierKey, cosign_note
from shared.proofs.tlog.proofs import Plan, carry_out, plan_consistency, plan_inclusion
from tests.proofs.test_tlog import tree_hash

KEY = SigningKey.from_seed(bytes([7]) * 32)
NEXT_KEY = SigningKey.from_seed(bytes([8]) * 32)
STRANGER = SigningKey.from_seed(bytes([9]) * 32)
WITNESSES = [SigningKey.from_seed(bytes([20 + number]) * 32) for number in range(3)]
ORIGIN = "receipts.example/log"
FROM = datetime(2026, 5, 1, tzinfo=UTC)
ISSUED = datetime(2026, 5, 3, 12, tzinfo=UTC)
COUNT = 11

Cosigner = Callable[[str], str]


def public(key: SigningKey, **changes: Any) -> PublicKey:
    fields: dict[str, Any] = {
        "key_id": key.key_id,
        "algorithm": "Ed25519",
        "public_key": encode_base64(key.public_key),
        "not_before": FROM,
        "not_after": None,
        "status": "current",
    }
    return PublicKey(**fields | changes)


def log_key(key: SigningKey = KEY, origin: str = ORIGIN) -> VerifierKey:
    return VerifierKey(origin, key.public_key)


def witness_key(number: int) -> VerifierKey:
    return VerifierKey(f"witness{number}.example", WITNESSES[number].public_key, COSIGNATURE)


def cosigner(number: int, at: datetime = ISSUED) -> Cosigner:
    """A witness that saw a checkpoint at that time."""
    return lambda text: cosign_note(text, f"witness{number}.example", WITNESSES[number], int(at.timestamp()))


class SavedLog:
    """Receipts and the log over them."""

    def __init__(self, count: int = COUNT, key: SigningKey = KEY, **facts: object) -> None:
        self.receipts: list[Receipt] = []
        self.hashes: list[bytes] = []
        for number in range(count):
            receipt_id = f"r{number}"
            payload = {
                "receipt_id": receipt_id,
                "key_id": key.key_id,
                "issued_at": ISSUED.isoformat().replace("+00:00", "Z"),
                "cost": "0.0003765",
                "alias": "résumé 😀\x1f",
                "tokens": number,
            } | facts
            self.receipts.append(build_receipt(receipt_id, key.key_id, sign_payload(payload, key)))
            self.hashes.append(hash_leaf(canonical_bytes(payload)))

    def checkpoint(
        self,
        size: int | None = None,
        key: SigningKey = KEY,
        origin: str = ORIGIN,
        cosigners: Sequence[Cosigner] = (),
    ) -> str:
        size = len(self.hashes) if size is None else size
        note = Checkpoint(origin, size, tree_hash(self.hashes[:size])).sign(key)
        return note.encode() + "".join(cosign(note.text) for cosign in cosigners)

    def inclusion(self, index: int, checkpoint: str | None = None) -> Inclusion:
        size = len(self.hashes)
        return Inclusion(
            leaf_index=index,
            tree_size=size,
            hashes=self._carry_out(plan_inclusion(index, size)),
            checkpoint=checkpoint or self.checkpoint(),
        )

    def consistency(self, old_size: int, checkpoint: str | None = None) -> Consistency:
        size = len(self.hashes)
        return Consistency(
            old_size=old_size,
            tree_size=size,
            hashes=self._carry_out(plan_consistency(old_size, size)),
            checkpoint=checkpoint,
        )

    def bundle(
        self,
        index: int = 4,
        *,
        checkpoint: str | None = None,
        since: int | None = None,
        keys: Sequence[PublicKey] = (),
    ) -> bytes:
        checkpoint = checkpoint or self.checkpoint()
        return msgspec.json.encode(
            Bundle(
                receipt=self.receipts[index],
                proof=self.inclusion(index, checkpoint),
                public_keys=PublicKeys(keys=list(keys) or [public(KEY)], current_key_id=KEY.key_id),
                verifier_keys=[log_key().text],
                consistency=None if since is None else self.consistency(since),
            )
        )

    def _carry_out(self, plan: Plan) -> list[str]:
        nodes = {node for nodes in plan for node in nodes}
        return [encode_base64(each) for each in carry_out(plan, {node: self._root(node) for node in nodes})]

    def _root(self, node: Node) -> bytes:
        return tree_hash(self.hashes[node.number << node.level : (node.number + 1) << node.level])
