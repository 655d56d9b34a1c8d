"""Answer the gateway: whose key or session is this, and what may it do?"""

import logging
import re
from datetime import timedelta
from typing import Final

from services.auth.sessions import Sessions
from services.auth.store.api_keys import LiveKey, find_live_key, mark_key_used
from services.auth.tiers import effective_limits
from shared.clock import Clock
from shared.contracts.keys import SESSION_SCOPES, KeyLookup, Verification
from shared.errors import InvalidFieldError, NotFoundError, UnavailableError
from shared.postgres import Database

LAST_USE_PRECISION: Final = timedelta(minutes=1)
"""A key's last use is stored again only when it has grown this old, so that looking up rarely writes."""

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")

_log = logging.getLogger(__name__)


class KeyVerification:
    """Looks up keys and sessions by their hash. The plain ones never come here."""

    def __init__(self, database: Database, sessions: Sessions, clock: Clock) -> None:
        self._database = database
        self._sessions = sessions
        self._clock = clock

    async def verify(self, lookup: KeyLookup) -> Verification:
        """Find the live key or session of a hash.

        Raises:
            InvalidFieldError: the hash is not 64 lower-case hex digits.
            NotFoundError: none has it, or it is revoked, over or its account suspended.
            UnavailableError: the database is away.
        """
        if not _SHA256_HEX.fullmatch(lookup.key_sha256):
            raise InvalidFieldError.of("key_sha256", "must be 64 lower-case hex digits.")
        digest = bytes.fromhex(lookup.key_sha256)
        return await (self._verify_session(digest) if lookup.kind == "session" else self._verify_key(digest))

    async def _verify_session(self, token_sha256: bytes) -> Verification:
        found = await self._sessions.find(token_sha256)
        if found is None:
            raise NotFoundError("There is no live session of this hash.")
        session, ends_at = found
        limits = effective_limits(session.tier, session.own_limits)
        return Verification(
            account_id=session.account_id,
            key_id=session.session_id,
            scopes=SESSION_SCOPES,
            tier=session.tier,
            requests_per_minute=limits["requests_per_minute"],
            logs_per_month=limits["logs_per_month"],
            expires_at=ends_at.timestamp(),
        )

    async def _verify_key(self, key_sha256: bytes) -> Verification:
        async with self._database.connection() as connection:
            key = await find_live_key(connection, key_sha256, self._clock.now())
        if key is None:
            raise NotFoundError("There is no live API key of this hash.")
        await self._mark_used(key)
        limits = effective_limits(key.tier, key.own_limits)
        return Verification(
            account_id=key.account_id,
            key_id=key.key_id,
            scopes=key.scopes,
            tier=key.tier,
            requests_per_minute=limits["requests_per_minute"],
            logs_per_month=limits["logs_per_month"],
            expires_at=None if key.expires_at is None else key.expires_at.timestamp(),
        )

    async def _mark_used(self, key: LiveKey) -> None:
        now = self._clock.now()
        if key.last_used_at is not None and now - key.last_used_at < LAST_USE_PRECISION:
            return
        try:
            async with self._database.connection() as connection:
                await mark_key_used(connection, key.account_id, key.key_id, now)
        except UnavailableError as error:  # the key is good all the same
            _log.warning("the last use of key %s was not stored: %s", key.key_id, error)
