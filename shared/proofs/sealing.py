"""Seal a secret so that only whoever has the key reads it: XSalsa20-Poly1305 by libsodium."""

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox


def seal(secret: bytes, key: bytes) -> bytes:
    """Encrypt and authenticate with a key of 32 bytes; the nonce is random and part of the result."""
    return bytes(SecretBox(key).encrypt(secret))


def unseal(sealed: bytes, key: bytes) -> bytes | None:
    """What was sealed; None if this is not the key, or a bit of it was changed."""
    try:
        return bytes(SecretBox(key).decrypt(sealed))
    except CryptoError:
        return None
