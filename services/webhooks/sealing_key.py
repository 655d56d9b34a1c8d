"""The key that secrets are sealed with: made once, found again at each start, never replaced in silence."""

import hashlib
import hmac
import logging
import secrets
from pathlib import Path
from typing import Final

from services.webhooks.settings import WebhooksSettings
from services.webhooks.store.sealing import find_fingerprint, insert_fingerprint
from shared.errors import UnavailableError
from shared.postgres import Database
from shared.private_file import write_private
from shared.proofs.sealing import seal, unseal
from shared.proofs.signing import decode_base64

KEY_BYTES: Final = 32
_NAME: Final = b"llmring webhooks sealing key"

_log = logging.getLogger(__name__)


class SealingKeyError(Exception):
    """The service must not start: it has no right key. The text says what a person can do."""


class SealingKey:
    """Holds the key from `open` on.

    Args:
        database: knows by a fingerprint which key is the right one.
        settings: has the key, or where it is.
    """

    def __init__(self, database: Database, settings: WebhooksSettings) -> None:
        self._database = database
        self._settings = settings
        self._key: bytes | None = None

    async def open(self) -> None:
        """Find the key of this deployment, or make it.

        Raises:
            SealingKeyError: there is none to be had, or the secrets are sealed with another one.
            UnavailableError: the database is away.
        """
        async with self._database.transaction() as connection:
            known = await find_fingerprint(connection)
            key = self._read(may_make=known is None)
            if known is None:
                # Two processes that start at once may both have come here: the first one's counts.
                known = await insert_fingerprint(connection, _fingerprint(key))
        if known != _fingerprint(key):
            raise SealingKeyError(
                "the key in LLMRING_WEBHOOKS_KEY, or in the data directory, is not the one that the secrets "
                "of webhooks are sealed with: restore that one"
            )
        self._key = key

    def seal(self, secret: bytes) -> bytes:
        """A secret as it may lie in the database.

        Raises:
            UnavailableError: the key has not been opened yet.
        """
        return seal(secret, self._opened)

    def unseal(self, sealed: bytes) -> bytes | None:
        """The secret itself; None if it was not sealed with this key.

        Raises:
            UnavailableError: the key has not been opened yet.
        """
        return unseal(sealed, self._opened)

    @property
    def _opened(self) -> bytes:
        if self._key is None:
            raise UnavailableError("The webhooks service is starting.")
        return self._key

    def _read(self, *, may_make: bool) -> bytes:
        if self._settings.sealing_key:
            try:
                key = decode_base64(self._settings.sealing_key.strip())
            except ValueError:
                key = b""
            if len(key) != KEY_BYTES:
                raise SealingKeyError("LLMRING_WEBHOOKS_KEY: must be standard base64 of 32 bytes")
            return key
        path = Path(self._settings.data_dir) / "webhooks" / "sealing.key"
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            if not may_make:
                raise SealingKeyError(
                    f"{path} is not there, and secrets of webhooks are sealed with it: restore it from a "
                    "backup; a new key is never made in its place"
                ) from None
            key = secrets.token_bytes(KEY_BYTES)
            write_private(path, key)
            _log.info("made the key that the secrets of webhooks are sealed with")
        except OSError as error:
            raise SealingKeyError(f"{path} cannot be read: {error}") from None
        if len(key) != KEY_BYTES:
            raise SealingKeyError(f"{path} does not hold {KEY_BYTES} bytes: restore it from a backup")
        return key


def _fingerprint(key: bytes) -> bytes:
    return hmac.digest(key, _NAME, hashlib.sha256)
