"""Hand over the first key of an account that was opened in a browser: once, and to that browser alone.

The browser that comes back from a provider is on its way to a page, so its key has to wait for a moment. It
waits sealed: what opens it comes of the session's token, which the browser alone has.
"""

from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from services.auth.audit import Actor
from services.auth.issue_key import IssuedKey
from services.auth.sessions import NewSession
from services.auth.standing import require_standing
from services.auth.store.pending_keys import (
    forget_pending_keys_that_are_over,
    had_pending_key,
    insert_pending_key,
    take_pending_key,
)
from shared.clock import Clock
from shared.contracts.sessions import opener_of
from shared.errors import GoneError, NotFoundError
from shared.postgres import Connection, Database
from shared.proofs.sealing import seal, unseal

WAITS: Final = timedelta(minutes=10)
"""How long a key waits to be retrieved."""

_GONE: Final = (
    "The key is not shown again: it was retrieved, has waited too long or is revoked. Make a new one."
)


class RetrievedKey(NamedTuple):
    """A key in the one moment in which its plain text is known."""

    key_id: UUID
    plain: str

    def __repr__(self) -> str:
        return f"RetrievedKey(key_id={self.key_id})"  # the plain key never reaches a log


class PendingKeys:
    """Keeps keys for a session, and gives them out."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def keep(
        self, connection: Connection, account_id: UUID, issued: IssuedKey, session: NewSession
    ) -> None:
        """Let a new key wait for a new session, in the transaction of both."""
        now = self._clock.now()
        await forget_pending_keys_that_are_over(connection, now)
        await insert_pending_key(
            connection,
            session_id=session.session_id,
            account_id=account_id,
            key_id=issued.key_id,
            sealed=seal(issued.key.plain.encode(), opener_of(session.token.encode())),
            expires_at=now + WAITS,
        )

    async def retrieve(self, by: Actor, session_id: UUID, opener: bytes) -> RetrievedKey:
        """Give out the key that waits for a session, and forget it: of many that ask at once, one gets it.

        Args:
            by: the session that asks.
            session_id: its id.
            opener: what comes of that session's token.

        Raises:
            UnauthenticatedError: the session has ended.
            NotFoundError: no key ever waited for this session.
            GoneError: it was retrieved, has waited too long, or is revoked.
            UnavailableError: the database is away.
        """
        async with self._database.transaction() as connection:
            await require_standing(connection, by, None, self._clock.now())
            taken = await take_pending_key(connection, session_id)
            known = taken is not None or await had_pending_key(connection, session_id)
        if not known:
            raise NotFoundError(
                "No key waits for this session: only the first login of a new account has one."
            )
        plain = None
        if taken is not None and taken.is_live and taken.expires_at > self._clock.now():
            plain = unseal(taken.sealed, opener)
        if taken is None or plain is None:
            raise GoneError(_GONE)
        return RetrievedKey(taken.key_id, plain.decode())
