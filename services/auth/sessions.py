"""Sessions: 256 random bits that a browser keeps in a cookie, and the SHA-256 by which they are known here.

A session ends after its idle time, after its absolute time, by logging out, and when the password is changed.
Every login draws a new token, so one that was planted in a browser before opens nothing.
"""

import hashlib
import logging
import secrets
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from services.auth.announce import KeyChanges, note_change
from services.auth.audit import Actor, record_audit
from services.auth.settings import AuthSettings
from services.auth.store import sessions as store
from services.auth.store.sessions import LiveSession
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.ids import uuid7
from shared.postgres import Connection, Database

MAX_SESSIONS: Final = 20
"""Of one account. The next login ends the oldest one."""

LAST_USE_PRECISION: Final = timedelta(minutes=1)
"""A session's last use is stored again only when it has grown this old."""

_log = logging.getLogger(__name__)


class NewSession(NamedTuple):
    """A session in the one moment in which its token is known.

    Attributes:
        expires_at: its end however much it is used.
    """

    session_id: UUID
    token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"NewSession(session_id={self.session_id})"  # the token never reaches a log or a traceback


class Sessions:
    """Opens, finds and ends sessions."""

    def __init__(self, database: Database, changes: KeyChanges, settings: AuthSettings, clock: Clock) -> None:
        self._database = database
        self._changes = changes
        self._idle = timedelta(hours=settings.session_idle_hours)
        self._longest = timedelta(hours=settings.session_hours)
        self._clock = clock

    async def open(self, connection: Connection, by: Actor, account_id: UUID) -> NewSession:
        """Open a session, in a transaction that has locked the account.

        The caller says so by `note_change`, since older sessions may have ended by it.
        """
        now = self._clock.now()
        session = NewSession(uuid7(), secrets.token_urlsafe(32), now + self._longest)
        await store.delete_sessions_that_are_over(connection, at=now, used_before=now - self._idle)
        await store.insert_session(
            connection,
            session_id=session.session_id,
            account_id=account_id,
            token_sha256=hashlib.sha256(session.token.encode()).digest(),
            created_at=now,
            expires_at=session.expires_at,
        )
        await store.delete_older_sessions(connection, account_id, keep=MAX_SESSIONS)
        await record_audit(
            connection, by, "session.opened", account_id=account_id, at=now, target_id=session.session_id
        )
        return session

    async def find(self, token_sha256: bytes) -> tuple[LiveSession, datetime] | None:
        """The live session of a token's hash, and when it ends if it is not used any more.

        To find it is to use it.

        Raises:
            UnavailableError: the database is away.
        """
        now = self._clock.now()
        async with self._database.connection() as connection:
            found = await store.find_live_session(
                connection, token_sha256, at=now, used_after=now - self._idle
            )
        if found is None:
            return None
        if now - found.used_at >= LAST_USE_PRECISION:
            try:
                async with self._database.connection() as connection:
                    await store.mark_session_used(connection, found.session_id, now)
            except UnavailableError as error:  # the session is good all the same
                _log.warning("the last use of session %s was not stored: %s", found.session_id, error)
        return found, min(now + self._idle, found.expires_at)

    async def end(self, by: Actor, account_id: UUID, session_id: UUID) -> None:
        """End one session. That it had ended already is no error.

        Raises:
            UnavailableError: the database is away.
        """
        async with self._database.transaction() as connection:
            if not await store.delete_session(connection, session_id):
                return
            now = self._clock.now()
            await record_audit(
                connection, by, "session.ended", account_id=account_id, at=now, target_id=session_id
            )
            event = await note_change(connection, account_id, now, [session_id])
        await self._changes.publish(event)
