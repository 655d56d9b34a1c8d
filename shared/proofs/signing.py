"""Ed25519 (RFC 8032) by libsodium, and the strict base64 that signatures and keys travel in."""

import base64
import binascii
import hashlib
import os

from nacl.bindings import (
    crypto_sign,
    crypto_sign_BYTES,
    crypto_sign_open,
    crypto_sign_PUBLICKEYBYTES,
    crypto_sign_seed_keypair,
    crypto_sign_SEEDBYTES,
)
from nacl.exceptions import CryptoError

ALGORITHM = "Ed25519"
SEED_BYTES: int = crypto_sign_SEEDBYTES
PUBLIC_KEY_BYTES: int = crypto_sign_PUBLICKEYBYTES
SIGNATURE_BYTES: int = crypto_sign_BYTES

# SubjectPublicKeyInfo of an Ed25519 key is this prefix and the 32 key bytes (RFC 8410, sections 4 and 10.1).
_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")


class SigningKey:
    """A private Ed25519 key; it signs and tells its public half, and never shows its seed again.

    Attributes:
        public_key: the 32 public bytes.
        key_id: the name of the key, derived from the public bytes.
    """

    __slots__ = ("_secret", "key_id", "public_key")

    def __init__(self, public_key: bytes, secret: bytes) -> None:
        self.public_key = public_key
        self.key_id = key_id_of(public_key)
        self._secret = secret

    @classmethod
    def from_seed(cls, seed: bytes) -> "SigningKey":
        """Make the key that a 32-byte seed stands for.

        Raises:
            ValueError: the seed is not 32 bytes long.
        """
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a signing seed is {SEED_BYTES} bytes, not {len(seed)}")
        public_key, secret = crypto_sign_seed_keypair(seed)
        return cls(public_key, secret)

    def sign(self, message: bytes) -> bytes:
        """The 64 signature bytes over a message; the same message always gives the same ones."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"SigningKey(key_id={self.key_id!r})"  # the secret never reaches a log or a traceback


def new_seed() -> bytes:
    """Draw 32 bytes for a new key from the operating system."""
    return os.urandom(SEED_BYTES)


def key_id_of(public_key: bytes) -> str:
    """The first 16 hex digits of SHA-256 over the public bytes."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature over the message was made with the private half of this key.

    A key or signature of the wrong length, or a key of small order, is an invalid one, not an error.
    """
    if len(signature) != SIGNATURE_BYTES or len(public_key) != PUBLIC_KEY_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except CryptoError:
        return False
    return True


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str) -> bytes:
    """Read standard base64, and only its one canonical spelling.

    A blank, the URL-safe alphabet, missing padding and stray bits in the last digit (RFC 4648, section 3.5)
    would each give one signature a second text, so they are refused.

    Raises:
        ValueError: the text is not canonical standard base64.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("is not standard base64") from None
    if encode_base64(data) != text:
        raise ValueError("is not standard base64")
    return data


def public_key_pem(public_key: bytes) -> str:
    """The public key as a PEM block that OpenSSL and every TLS library read (RFC 8410)."""
    return (
        f"-----BEGIN PUBLIC KEY-----\n{encode_base64(_SPKI_PREFIX + public_key)}\n-----END PUBLIC KEY-----\n"
    )
