"""The sealing keys that this process has: from its settings, or from the data directory."""

import hashlib
import hmac
import logging
import secrets
from pathlib import Path
from typing import Final

from services.webhooks.settings import WebhooksSettings
from shared.private_file import belongs_to_another, write_private
from shared.proofs.signing import decode_base64

KEY_BYTES: Final = 32
_NAME: Final = b"llmring webhooks sealing key"

_log = logging.getLogger(__name__)

Ring = dict[bytes, bytes]
"""Keys by their fingerprints, which do not give them away."""


class SealingKeyError(Exception):
    """There is no right key. The text says what a person can do."""


class KeyFiles:
    """Where the keys are.

    Args:
        settings: has them, the newest first, or tells the directory.
    """

    def __init__(self, settings: WebhooksSettings) -> None:
        self._given = settings.sealing_keys
        self.folder = Path(settings.data_dir) / "webhooks"

    @property
    def are_settings(self) -> bool:
        """Whether they come with the process, and the directory counts for nothing."""
        return bool(self._given)

    def read(self) -> Ring:
        """All of them; of settings the newest first.

        Raises:
            SealingKeyError: one is no key, or cannot be read.
        """
        if self._given:
            keys = [_parse(each) for each in self._given]
        else:
            try:
                keys = [_check(path.read_bytes(), path) for path in sorted(self.folder.glob("sealing*.key"))]
            except OSError as error:
                raise SealingKeyError(f"{self.folder} cannot be read: {error}") from None
        return {fingerprint_of(key): key for key in keys}

    def make(self, *, first: bool) -> bytes:
        """Make one more in the directory, durably; its fingerprint.

        Raises:
            SealingKeyError: the directory is somebody else's.
            OSError: it cannot be written.
        """
        if belongs_to_another(self.folder):
            raise SealingKeyError(
                f"{self.folder} is another user's: run this as that user, or its server cannot read"
            )
        key = secrets.token_bytes(KEY_BYTES)
        fingerprint = fingerprint_of(key)
        name = "sealing.key" if first else f"sealing-{fingerprint.hex()[:16]}.key"
        write_private(self.folder / name, key)
        _log.info("made the key %s that the secrets of webhooks are sealed with", fingerprint.hex()[:16])
        return fingerprint


def fingerprint_of(key: bytes) -> bytes:
    """What tells a key from others."""
    return hmac.digest(key, _NAME, hashlib.sha256)


def _parse(text: str) -> bytes:
    try:
        key = decode_base64(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SealingKeyError("LLMRING_WEBHOOKS_KEY: must be standard base64 of 32 bytes, two with a comma")
    return key


def _check(key: bytes, path: Path) -> bytes:
    if len(key) != KEY_BYTES:
        raise SealingKeyError(f"{path} does not hold {KEY_BYTES} bytes: restore it from a backup")
    return key
