"""The key that this process signs with: made once, found again at each start, never replaced in silence."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

from services.receipts.settings import ReceiptsSettings
from services.receipts.store.keys import (
    KeyRow,
    find_right,
    insert_key,
    list_keys,
    lock_keys,
    retire_current_key,
)
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.postgres import Connection, Database
from shared.private_file import belongs_to_another, write_private
from shared.proofs.signing import SigningKey, decode_base64, new_seed

_log = logging.getLogger(__name__)


class SigningKeyError(Exception):
    """The service must not start: it has no right key to sign with. The text says what a person can do."""


class Signer:
    """Holds the signing key from `open` on.

    Args:
        database: where the public half is stored, before the first signature.
        settings: where the private half is.
        clock: dates new keys.
    """

    def __init__(self, database: Database, settings: ReceiptsSettings, clock: Clock) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._key: SigningKey | None = None
        self._missing: str | None = None

    @property
    def key(self) -> SigningKey:
        """The key to sign with.

        Raises:
            UnavailableError: it has not been opened yet.
        """
        if self._key is None:
            raise UnavailableError("The receipts service is starting.")
        return self._key

    async def open(self) -> None:
        """Find the key of this deployment, or make its first one.

        Raises:
            SigningKeyError: the key that signs now is not to be had, or the one given may not sign.
        """
        async with self._database.transaction() as connection:
            await lock_keys(connection)
            known = await list_keys(connection)
            if self._settings.signing_seed:
                self._key = await self._open_given(connection, known)
            elif known:
                self._key = self._open_kept(known)
            else:
                self._key = await self._make_key(connection)

    async def rotate(self) -> SigningKey:
        """Make a new current key in the data directory. Running processes that use it follow by themselves.

        The old key may sign until the overlap ends; what it signed stays valid.

        Raises:
            SigningKeyError: the key is a setting, the directory is not the one of this deployment, or it is
                somebody else's.
        """
        if self._settings.signing_seed:
            raise SigningKeyError(
                "the signing seed is a setting: rotate by giving every process a new one, such as "
                "`llmring-api keys receipts` prints"
            )
        async with self._database.transaction() as connection:
            await lock_keys(connection)
            known = await list_keys(connection)
            if any(row.status == "current" for row in known):
                self._open_kept(known)
            self._require_own_folder()
            await retire_current_key(connection, self._clock.now() + self._overlap)
            self._key = await self._make_key(connection)
        return self._key

    async def require_right_to_sign(self, connection: Connection, at: datetime) -> None:
        """Check, in the transaction that issues, that the key was not retired or revoked meanwhile.

        Where a new key was made in the data directory, this process signs with that one from now on.

        Raises:
            UnavailableError: it was, and there is no new one. This process signs nothing more until it is
                started with it.
        """
        right = await find_right(connection, self.key.key_id, at)
        if not right.is_current and not self._settings.signing_seed and await self._follow(connection):
            return
        if not right.may_sign:
            _log.error("key %s may sign no longer: restart with the current one", self.key.key_id)
            raise UnavailableError("Receipts cannot be signed at the moment.")

    async def _follow(self, connection: Connection) -> bool:
        """Take over the current key from the data directory, if it is there."""
        known = await list_keys(connection)
        current = next((row.key_id for row in known if row.status == "current"), None)
        if current is None:
            return False
        try:
            self._key = self._open_kept(known)
        except SigningKeyError as error:
            if current != self._missing:  # said once, and not in every transaction
                _log.error("key %s goes on while it may: %s", self.key.key_id, error)
            self._missing = current
            return False
        _log.info("key %s signs receipts from now on", current)
        return True

    async def _open_given(self, connection: Connection, known: list[KeyRow]) -> SigningKey:
        try:
            key = SigningKey.from_seed(decode_base64(self._settings.signing_seed.strip()))
        except ValueError:
            raise SigningKeyError("the signing seed must be standard base64 of 32 bytes") from None
        row = next((row for row in known if row.key_id == key.key_id), None)
        if row is not None and row.status != "current":
            raise SigningKeyError(f"the signing seed is that of key {key.key_id}, which is {row.status}")
        if row is None:
            now = self._clock.now()
            await retire_current_key(connection, now + self._overlap)
            await insert_key(connection, key.key_id, key.public_key, now)
            _log.info("key %s signs receipts from now on", key.key_id)
        return key

    def _open_kept(self, known: list[KeyRow]) -> SigningKey:
        current = next((row for row in known if row.status == "current"), None)
        if current is None:
            raise SigningKeyError("no signing key is current: give a new signing seed")
        path = self._seed_path(current.key_id)
        try:
            key = SigningKey.from_seed(path.read_bytes())
        except (OSError, ValueError) as error:
            raise SigningKeyError(
                f"the private half of signing key {current.key_id} cannot be read from {path} ({error}). "
                "Restore that file from a backup; a new key is never made in its place"
            ) from None
        if key.public_key != current.public_key:
            raise SigningKeyError(f"{path} holds another key than {current.key_id}: restore the right file")
        return key

    async def _make_key(self, connection: Connection) -> SigningKey:
        seed = new_seed()
        key = SigningKey.from_seed(seed)
        # The file first: a public key whose private half was lost in a crash would block every later start.
        write_private(self._seed_path(key.key_id), seed)
        await insert_key(connection, key.key_id, key.public_key, self._clock.now())
        _log.info("made signing key %s", key.key_id)
        return key

    @property
    def _overlap(self) -> timedelta:
        return timedelta(seconds=self._settings.rotation_overlap_s)

    def _require_own_folder(self) -> None:
        folder = self._seed_path("any").parent
        if belongs_to_another(folder):
            raise SigningKeyError(
                f"{folder} is another user's: run this as that user, or its server cannot read"
            )

    def _seed_path(self, key_id: str) -> Path:
        return Path(self._settings.data_dir) / "receipts" / f"{key_id}.seed"
