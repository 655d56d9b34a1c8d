"""Log in by email and password: a session for the browser, and a fresh key for everything else.

Whatever is wrong is answered alike and after the same work, so that nobody learns whose address has an
account: the address is unknown, the password is wrong or was never set, the account is suspended.
"""

from typing import Final, NamedTuple

from services.auth.announce import KeyChanges, note_change
from services.auth.api_keys import CUSTOMER_SCOPES
from services.auth.audit import Actor
from services.auth.emails import email_key
from services.auth.issue_key import issue_key
from services.auth.make_room import make_room
from services.auth.passwords import PasswordHashes
from services.auth.sessions import NewSession, Sessions
from services.auth.store.accounts import (
    Account,
    Credentials,
    find_credentials,
    get_password_hash,
    lock_account,
    set_password,
)
from services.auth.throttle import Throttle
from shared.clock import Clock
from shared.errors import UnauthenticatedError
from shared.postgres import Database

LIVE_LOGIN_KEYS: Final = 5
"""Of the keys from logins the newest ones live (wire contract, "Accounts")."""

WRONG: Final = "The email address or the password is wrong."


class LoggedIn(NamedTuple):
    """Who logged in, with the plain text of the new key and of the session's token."""

    account: Account
    api_key: str
    session: NewSession

    def __repr__(self) -> str:
        return f"LoggedIn(account_id={self.account.account_id})"  # neither secret ever reaches a log


class Login:
    """Checks passwords, no faster and no slower whoever is asked for."""

    def __init__(
        self,
        *,
        database: Database,
        changes: KeyChanges,
        passwords: PasswordHashes,
        sessions: Sessions,
        throttle: Throttle,
        clock: Clock,
    ) -> None:
        self._database = database
        self._changes = changes
        self._passwords = passwords
        self._sessions = sessions
        self._throttle = throttle
        self._clock = clock

    async def log_in(self, *, email: str, password: str, client: str | None) -> LoggedIn:
        """Open a session and make a key.

        Args:
            email: in any spelling that is the same address.
            password: as it was typed.
            client: the address that the request came from, where it is known.

        Raises:
            UnauthenticatedError: any of what the module names.
            RateLimitedError: too many attempts, by the client's address or by the email address.
            UnavailableError: the database is away, or too many passwords are being checked.
        """
        key = email_key(email).replace("\0", "\N{REPLACEMENT CHARACTER}")  # Postgres takes no NUL
        counted = await self._throttle.count("login", client or "", key)
        async with self._database.connection() as connection:
            found = await find_credentials(connection, key)
        is_right = await self._passwords.verify(None if found is None else found.password_hash, password)
        if found is None or not is_right or found.suspended_at:
            raise UnauthenticatedError(WRONG)
        logged_in = await self._open(found, password, client)
        await self._throttle.forgive(counted)
        return logged_in

    async def _open(self, found: Credentials, password: str, client: str | None) -> LoggedIn:
        assert found.password_hash is not None  # noqa: S101 - it was right
        renewed = None
        if self._passwords.is_outdated(found.password_hash):
            renewed = await self._passwords.rehash(password)
        now = self._clock.now()
        by = Actor("account", found.account_id, client=client)
        async with self._database.transaction() as connection:
            account = await lock_account(connection, found.account_id)
            # A reset or a suspension may have come between: what was checked must still hold.
            stored = await get_password_hash(connection, account.account_id)
            if account.suspended_at or stored != found.password_hash:
                raise UnauthenticatedError(WRONG)
            if renewed is not None:
                await set_password(connection, account.account_id, renewed)
            issued = await issue_key(
                connection,
                by,
                account_id=account.account_id,
                name="login",
                scopes=CUSTOMER_SCOPES,
                at=now,
                origin="login",
            )
            revoked = await make_room(
                connection, by, account.account_id, "login", keep=LIVE_LOGIN_KEYS, at=now
            )
            session = await self._sessions.open(connection, by, account.account_id)
            event = await note_change(connection, account.account_id, now, [session.session_id, *revoked])
        await self._changes.publish(issued.event, event)
        return LoggedIn(account, issued.key.plain, session)
