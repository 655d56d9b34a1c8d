"""The signed token by which the gateway vouches for a caller, and its offline check in each service.

A token is `base64url(JSON of the Principal) "." base64url(Ed25519 signature over those JSON bytes)`.
Services hold only the public key: one that is broken into cannot speak for anybody. The gateway strips the
header from every request that arrives from outside.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

import msgspec

from shared.clock import Clock
from shared.contracts.keys import Principal
from shared.errors import ForbiddenError, UnauthenticatedError
from shared.proofs.signing import SigningKey, verify

PRINCIPAL_HEADER = b"x-llmring-principal"
TOKEN_LIFETIME_S = 300
_CACHED_TOKENS = 10_000

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Principal)


class PrincipalMint:
    """Makes tokens. Only the gateway has one."""

    def __init__(self, key: SigningKey, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def mint(self, principal: Principal) -> bytes:
        """Sign a principal for `TOKEN_LIFETIME_S` seconds from now."""
        expires_at = int(self._clock.now().timestamp()) + TOKEN_LIFETIME_S
        payload = _encoder.encode(msgspec.structs.replace(principal, expires_at=expires_at))
        signature = self._key.sign(payload)
        return urlsafe_b64encode(payload) + b"." + urlsafe_b64encode(signature)


class PrincipalVerifier:
    """Checks tokens offline, and remembers those it has checked until they end.

    Args:
        public_keys: of the gateway: several while its key is being changed.
        clock: tells which tokens have ended.
    """

    def __init__(self, public_keys: Sequence[bytes], clock: Clock) -> None:
        self._public_keys = tuple(public_keys)
        self._clock = clock
        self._checked: dict[bytes, Principal] = {}

    def verify(self, token: bytes | None) -> Principal:
        """Read a token.

        Raises:
            UnauthenticatedError: there is none, it is not ours, or its time is over.
        """
        if not token:
            raise UnauthenticatedError("This service is reached through the gateway, with an API key.")
        principal = self._checked.get(token)
        if principal is None:
            principal = self._read(token)
            if len(self._checked) >= _CACHED_TOKENS:
                self._checked.clear()
            self._checked[token] = principal
        if principal.expires_at <= self._clock.now().timestamp():
            self._checked.pop(token, None)
            raise UnauthenticatedError("The principal token has expired.")
        return principal

    def _read(self, token: bytes) -> Principal:
        try:
            payload_part, signature_part = token.split(b".")
            payload = urlsafe_b64decode(payload_part)
            signature = urlsafe_b64decode(signature_part)
            if any(verify(public_key, payload, signature) for public_key in self._public_keys):
                return _decoder.decode(payload)
        except (ValueError, binascii.Error):
            pass
        raise UnauthenticatedError("The principal token is not valid.")


def require_scope(principal: Principal, scope: str) -> None:
    """Let only a key of this scope pass.

    Raises:
        ForbiddenError: the key does not have the scope.
    """
    if scope not in principal.scopes:
        raise ForbiddenError(f"This needs an API key with the scope '{scope}'.")
