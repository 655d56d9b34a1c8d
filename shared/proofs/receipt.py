"""Signing a receipt's payload, and the verdict on a receipt that somebody shows us.

The key comes from a published set and never from the receipt. Every member of a receipt is under the
signature: the payload itself, `receipt_id`, `id` and `key_id` by standing in the payload too, `algorithm` by
having one value; a member more or less makes it another document, which nobody signed.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from shared.contracts.receipts import PublicKey, PublicKeys, Receipt, Verdict
from shared.proofs.canonical import canonical_bytes
from shared.proofs.signing import ALGORITHM, SigningKey, decode_base64, encode_base64, verify
from shared.proofs.strict_json import parse_strict

_MEMBERS = frozenset({"receipt_id", "id", "payload", "signature", "key_id", "algorithm"})
_MALFORMED = Verdict(valid=False, reason="malformed")
_BAD_SIGNATURE = Verdict(valid=False, reason="bad_signature")

_CLOCKS_APART: Final = timedelta(minutes=5)
"""How far the clocks of two processes that share a new key may differ: one publishes it, the other signs."""


class SignedPayload(NamedTuple):
    """The canonical bytes of a payload and the 64 signature bytes over them. Both are kept for ever."""

    payload: bytes
    signature: bytes


def sign_payload(payload: Mapping[str, object], key: SigningKey) -> SignedPayload:
    """Sign a payload, which must name its `receipt_id` and this key's `key_id`.

    Raises:
        CanonicalError: the payload has no canonical form.
        ValueError: the payload names another key, or no receipt.
    """
    if payload.get("key_id") != key.key_id or not isinstance(payload.get("receipt_id"), str):
        raise ValueError("a payload names its receipt_id and the key that signs it")
    data = canonical_bytes(payload)
    return SignedPayload(data, key.sign(data))


def build_receipt(receipt_id: str, key_id: str, signed: SignedPayload) -> Receipt:
    """Put a receipt together around the very bytes that were signed."""
    return Receipt(
        receipt_id=receipt_id,
        id=receipt_id,
        payload=msgspec.Raw(signed.payload),
        signature=encode_base64(signed.signature),
        key_id=key_id,
        algorithm=ALGORITHM,
    )


class KeySet:
    """The keys that a verifier trusts, by name."""

    def __init__(self, keys: Iterable[PublicKey]) -> None:
        self._keys = {key.key_id: key for key in keys if key.algorithm == ALGORITHM}

    @classmethod
    def from_json(cls, raw: bytes) -> "KeySet":
        """Read a saved `public-keys.json`.

        Raises:
            msgspec.ValidationError: it is not one.
        """
        return cls(msgspec.json.decode(raw, type=PublicKeys).keys)

    def find(self, key_id: str) -> PublicKey | None:
        """The key of that name, or None where it was never published."""
        return self._keys.get(key_id)


def verify_receipt(raw: bytes, keys: KeySet) -> Verdict:
    """Judge the text of a receipt. White space and the order of members do not matter.

    The whole answer of `POST /api/v1/receipts`, `{receipt_id, signature, receipt}`, is judged as well.

    A revoked key's receipt counts (`revoked_after_issue`) if it says that it was issued before the
    revocation. That time is the signer's own word: who holds the stored receipts must also check that this
    one was among them then.

    Raises:
        MalformedJsonError: the text is not JSON.
        DuplicateKeyError: an object has a member twice.
    """
    return verify_parsed(parse_strict(raw), keys)


def verify_parsed(shown: object, keys: KeySet) -> Verdict:
    """Judge a receipt that `parse_strict` has read. See `verify_receipt`."""
    receipt = find_shown_receipt(shown)
    if receipt is None:
        return _MALFORMED
    payload, key_id, signature = receipt["payload"], receipt["key_id"], receipt["signature"]
    if (
        receipt.keys() != _MEMBERS
        or receipt["algorithm"] != ALGORITHM
        or receipt["id"] != receipt["receipt_id"]
        or payload.get("receipt_id") != receipt["receipt_id"]
        or payload.get("key_id") != key_id
    ):
        return _BAD_SIGNATURE
    key = keys.find(key_id)
    if key is None:
        return Verdict(valid=False, reason="unknown_key")
    try:
        good = verify(decode_base64(key.public_key), canonical_bytes(payload), decode_base64(signature))
    except ValueError:  # no base64, or a payload that never had canonical bytes to sign
        return _BAD_SIGNATURE
    return _judge_time(key, payload) if good else _BAD_SIGNATURE


def find_shown_receipt(shown: object) -> dict[str, Any] | None:
    """The receipt in what was shown, either as it is or inside a `POST` answer; None if there is none.

    What it gives has at least the six members, of the right JSON types.
    """
    if isinstance(shown, dict) and "receipt" in shown and "payload" not in shown:
        inner = shown["receipt"]
        if not isinstance(inner, dict) or any(
            shown[name] != inner.get(name) for name in shown if name != "receipt"
        ):
            return None
        shown = inner
    if not isinstance(shown, dict) or not shown.keys() >= _MEMBERS or not isinstance(shown["payload"], dict):
        return None
    texts = (shown[name] for name in _MEMBERS if name != "payload")
    return shown if all(isinstance(text, str) for text in texts) else None


def _judge_time(key: PublicKey, payload: Mapping[str, object]) -> Verdict:
    issued_at = _read_instant(payload.get("issued_at"))
    if key.status == "revoked":
        if key.revoked_at is None or issued_at is None or issued_at >= key.revoked_at:
            return Verdict(valid=False, reason="key_revoked", key_status="revoked")
        return Verdict(valid=True, key_status="revoked_after_issue")
    if issued_at is not None and issued_at < key.not_before - _CLOCKS_APART:
        return Verdict(valid=False, reason="key_not_yet_valid", key_status=key.status)
    if key.not_after is not None and issued_at is not None and issued_at > key.not_after:
        return Verdict(valid=False, reason="key_expired", key_status=key.status)
    return Verdict(valid=True, key_status=key.status)


def _read_instant(value: object) -> datetime | None:
    try:
        instant = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return None
    return instant if instant.tzinfo is not None else None
