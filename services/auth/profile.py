"""What somebody who is logged in sees of the account, and the one new key that they may ask for."""

from typing import NamedTuple
from uuid import UUID

from services.auth.announce import KeyChanges, note_change
from services.auth.api_keys import CUSTOMER_SCOPES
from services.auth.audit import Actor
from services.auth.issue_key import issue_key
from services.auth.make_room import make_room
from services.auth.messages import KeyStatusView, Me
from services.auth.standing import require_standing
from services.auth.store.accounts import get_account, get_password_hash, lock_account
from services.auth.store.api_keys import get_key_status
from services.auth.store.pending_keys import find_end_of_waiting
from services.auth.store.sessions import get_session_end
from services.auth.tiers import Tier, effective_limits
from shared.clock import Clock
from shared.contracts.keys import SCOPE_ADMIN
from shared.errors import UnauthenticatedError
from shared.postgres import Database


class NewKey(NamedTuple):
    """A key in the one moment in which its plain text is known, and how many it replaces."""

    key_id: UUID
    plain: str
    replaced: int

    def __repr__(self) -> str:
        return f"NewKey(key_id={self.key_id})"  # the plain key never reaches a log


class Profile:
    """The account of a session."""

    def __init__(self, database: Database, changes: KeyChanges, clock: Clock) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock

    async def show(self, account_id: UUID, session_id: UUID) -> Me:
        """The account, and how it stands with its keys.

        Raises:
            UnauthenticatedError: the session has ended a moment ago.
            UnavailableError: the database is away.
        """
        async with self._database.connection() as connection:
            ends_at = await get_session_end(connection, session_id)
            account = await get_account(connection, account_id)
            has_password = await get_password_hash(connection, account_id) is not None
            now = self._clock.now()
            keys = await get_key_status(connection, account_id, now)
            waits_until = await find_end_of_waiting(connection, session_id, now)
        if ends_at is None:
            raise UnauthenticatedError("The session has ended.")
        return Me(
            account_id=account_id,
            email=account.email,
            email_verified=account.email_verified_at is not None,
            organization=account.organization,
            tier=Tier(name=account.tier, **effective_limits(account.tier, account.own_limits)),
            has_password=has_password,
            created_at=account.created_at,
            session_expires_at=ends_at,
            api_key=KeyStatusView(
                active=keys.live > 0,
                live_keys=keys.live,
                prefix=keys.prefix,
                created_at=keys.created_at,
                last_used_at=keys.last_used_at,
                retrievable_until=waits_until,
            ),
        )

    async def regenerate_key(self, by: Actor, account_id: UUID) -> NewKey:
        """Make a new first key, and revoke the one before: that from registering, or from doing this.

        Keys from logins, and those made by name, stay: whoever made them can revoke them.

        Raises:
            UnauthenticatedError: the session has ended.
            UnavailableError: the database is away.
        """
        async with self._database.transaction() as connection:
            await lock_account(connection, account_id)
            now = self._clock.now()
            await require_standing(connection, by, SCOPE_ADMIN, now)
            revoked = await make_room(connection, by, account_id, "first", keep=0, at=now)
            issued = await issue_key(
                connection,
                by,
                account_id=account_id,
                name=None,
                scopes=CUSTOMER_SCOPES,
                at=now,
                origin="first",
            )
            event = await note_change(connection, account_id, now, revoked)
        await self._changes.publish(issued.event, event)
        return NewKey(issued.key_id, issued.key.plain, len(revoked))
