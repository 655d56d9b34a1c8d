"""The key that secrets are sealed with: made once, found again at each start, never replaced in silence.

Which one it is says the database, by a fingerprint. While it is being changed (`reseal`), secrets may be
sealed with the one before as well: each is opened with whichever of the keys at hand opens it.
"""

import logging
from typing import Final

from services.webhooks.key_ring import KeyFiles, Ring, SealingKeyError
from services.webhooks.settings import WebhooksSettings
from services.webhooks.store.sealing import find_sealing, hold_sealing, insert_fingerprint
from shared.errors import UnavailableError
from shared.postgres import Connection, Database
from shared.proofs.sealing import seal, unseal

_log: Final = logging.getLogger(__name__)


class SealingKey:
    """Holds the keys from `open` on, and takes new ones from the data directory as they are made.

    Args:
        database: knows by a fingerprint which key is the right one.
        settings: has the keys, or where they are.
    """

    def __init__(self, database: Database, settings: WebhooksSettings) -> None:
        self._database = database
        self._files = KeyFiles(settings)
        self._ring: Ring = {}

    async def open(self) -> None:
        """Find the key of this deployment, or make it.

        Raises:
            SealingKeyError: there is none to be had, or the secrets are sealed with another one.
            UnavailableError: the database is away.
        """
        async with self._database.transaction() as connection:
            known = await find_sealing(connection)
            ring = self._files.read()
            if known is None:
                if not ring:
                    self._files.make(first=True)
                    ring = self._files.read()
                # Two processes that start at once may both have come here: the first one's counts.
                known = await insert_fingerprint(connection, next(iter(ring)))
        place = "LLMRING_WEBHOOKS_KEY" if self._files.are_settings else self._files.folder
        for needed in (known.fingerprint, known.retiring):
            if needed is not None and needed not in ring:
                raise SealingKeyError(
                    f"the key {needed.hex()[:16]}, which secrets of webhooks are sealed with, is not in "
                    f"{place}: restore it from a backup; a new key is never made in its place"
                )
        self._ring = ring

    async def seal(self, connection: Connection, secret: bytes) -> bytes:
        """A secret as it may lie in the database, in the transaction that stores it.

        Raises:
            UnavailableError: the key has not been opened yet, or was changed and is not to be had here.
        """
        known = await hold_sealing(connection)
        key = None if known is None else self._opened.get(known.fingerprint)
        if key is None and known is not None and self._reload():
            key = self._ring.get(known.fingerprint)
        if key is None:
            _log.error("the key that secrets of webhooks are sealed with was changed: restart with it")
            raise UnavailableError("Secrets of webhooks cannot be stored at the moment.")
        return seal(secret, key)

    def unseal(self, sealed: bytes) -> bytes | None:
        """The secret itself; None if it was not sealed with a key that is to be had here.

        Raises:
            UnavailableError: the key has not been opened yet.
        """
        secret = open_with(self._opened, sealed)
        if secret is None and self._reload():
            secret = open_with(self._ring, sealed)
        return secret

    @property
    def _opened(self) -> Ring:
        if not self._ring:
            raise UnavailableError("The webhooks service is starting.")
        return self._ring

    def _reload(self) -> bool:
        """Look for new keys in the directory; whether there are any."""
        if self._files.are_settings:
            return False
        try:
            ring = self._files.read()
        except SealingKeyError as error:
            _log.error("sealing keys cannot be read: %s", error)
            return False
        is_new = not ring.keys() <= self._ring.keys()
        self._ring = self._ring | ring
        return is_new


def open_with(ring: Ring, sealed: bytes) -> bytes | None:
    """A secret, by whichever of some keys opens it; None if none does."""
    return next((secret for key in ring.values() if (secret := unseal(sealed, key)) is not None), None)
