"""What a stranger takes home to check a receipt offline, and the keys as JOSE libraries read them."""

from typing import Final, Literal

import msgspec

from shared.contracts.receipts import Consistency, Inclusion, PublicKeys, Receipt

BUNDLE_FORMAT: Final = "llmring-receipt-bundle/1"


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """Answer to `GET /api/v1/receipts/{receipt_id}/bundle`: a receipt and all that is needed to check it.

    Attributes:
        proof: that the receipt is in the log, with the checkpoint.
        public_keys: every key that ever signed receipts: the operator's own word about itself.
        verifier_keys: those that ever signed checkpoints, as notes' verifiers read them. Likewise.
        consistency: that the checkpoint's tree begins with that of the size that was asked for; else null.
    """

    format: Literal["llmring-receipt-bundle/1"] = BUNDLE_FORMAT
    receipt: Receipt
    proof: Inclusion
    public_keys: PublicKeys
    verifier_keys: list[str]
    consistency: Consistency | None


class JsonWebKey(msgspec.Struct, frozen=True, kw_only=True):
    """An Ed25519 public key (RFC 8037, section 2).

    Attributes:
        x: the 32 bytes, in base64url without padding.
        kid: the `key_id`.
    """

    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    x: str
    kid: str
    use: Literal["sig"] = "sig"


class JsonWebKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`jwks.json` (RFC 7517, section 5): the keys whose signatures count. A revoked key is not among them."""

    keys: list[JsonWebKey]


class OldReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt in the form of the `llmring` 1.0.0 package. Costs are floats, in USD.

    Attributes:
        timestamp: when the receipt was issued.
        lock_digest: always empty: no lock file is known here.
        signature: base64 of the 64 bytes over the other members, by the key that signed receipts when asked.
    """

    receipt_id: str
    timestamp: str
    alias: str
    profile: str
    lock_digest: str
    provider: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    input_cost: float
    output_cost: float
    total_cost: float
    signature: str
