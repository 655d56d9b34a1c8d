"""Set a password by a link that was sent to the account's address."""

import hashlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from services.auth.announce import KeyChanges, note_change
from services.auth.audit import Actor, record_audit
from services.auth.emails import parse_email
from services.auth.passwords import PasswordHashes, parse_password
from services.auth.store.accounts import find_email_key, lock_account, mark_email_verified, set_password
from services.auth.store.api_keys import get_key_status, mark_keys_unproven
from services.auth.store.mails import Notice, insert_mail, insert_notice
from services.auth.store.password_links import is_live_link, take_link
from services.auth.store.sessions import delete_sessions
from services.auth.throttle import Throttle
from shared.clock import Clock, rfc3339
from shared.errors import InvalidFieldError, MalformedRequestError
from shared.ids import uuid7
from shared.postgres import Database

DEAD_LINK: Final = "This link does not work, or does not work any more: ask for a new one."


MEANING: Final[dict[str, Callable[[Any], object]]] = {"new_password": parse_password}
"""What is asked of fields of taking a link, beyond their types."""


class ResetDone(NamedTuple):
    """What setting the password ended, and what it left."""

    sessions_ended: int
    api_keys_left: int


class PasswordReset:
    """Asks for links and takes them."""

    def __init__(
        self,
        *,
        database: Database,
        changes: KeyChanges,
        passwords: PasswordHashes,
        throttle: Throttle,
        clock: Clock,
    ) -> None:
        self._database = database
        self._changes = changes
        self._passwords = passwords
        self._throttle = throttle
        self._clock = clock

    async def ask(self, *, email: str, client: str | None) -> None:
        """Let a link be sent to an address, if it has an account. Either way this does the same.

        Raises:
            InvalidFieldError: it is no address.
            RateLimitedError: too many were asked for, by this client or for this address.
            UnavailableError: the database is away.
        """
        try:
            address = parse_email(email)
        except ValueError as error:
            raise InvalidFieldError.of("email", str(error)) from None
        await self._throttle.count("password-reset", client or "", address.key)
        async with self._database.connection() as connection:
            await insert_mail(connection, "password_reset", address.key, self._clock.now())

    async def confirm(self, *, token: str, new_password: str, client: str | None) -> ResetDone:
        """Set the password of the account that the link was sent to, and end its sessions.

        Whoever has the link reads the mail of the address, so that it counts as verified. Where nobody had
        shown that before, the keys may be a stranger's: they stay valid, and are marked (see `join`). The
        address is told, in case that it was a stranger who read its mail.

        Raises:
            InvalidFieldError: the password is not accepted; the link stays as it is.
            MalformedRequestError: the link does not work, for whatever reason.
            RateLimitedError: too many tries by this client.
            UnavailableError: the database is away, or too many passwords are being hashed.
        """
        await self._throttle.count_client("password-reset-confirm", client or "")
        secret = _parse(new_password)
        digest = hashlib.sha256(token.encode()).digest()
        async with self._database.connection() as connection:
            if not await is_live_link(connection, digest, self._clock.now()):
                raise MalformedRequestError(DEAD_LINK)
        password_hash = await self._passwords.hash(secret)
        async with self._database.transaction() as connection:
            account_id = await take_link(connection, digest, self._clock.now())
            if account_id is None:
                raise MalformedRequestError(DEAD_LINK)
            account = await lock_account(connection, account_id)
            now = self._clock.now()  # later than all that was done until now by what ends here
            _parse(new_password, account.email)
            await set_password(connection, account_id, password_hash)
            if account.email_verified_at is None:
                await mark_keys_unproven(connection, account_id)
                await mark_email_verified(connection, account_id, now)
            ended = await delete_sessions(connection, account_id)
            keys = await get_key_status(connection, account_id, now)
            by = Actor("account", account_id, client=client)
            await record_audit(
                connection,
                by,
                "password.reset",
                account_id=account_id,
                at=now,
                after={"sessions_ended": ended},
            )
            facts = {
                "at": rfc3339(now),
                "client": client or "an address that is not known",
                "sessions_ended": str(ended),
            }
            email_key = await find_email_key(connection, account_id)
            await insert_notice(connection, Notice(uuid7(), "password_changed", email_key or "", facts, now))
            event = await note_change(connection, account_id, now)
        await self._changes.publish(event)
        return ResetDone(ended, keys.live)


def _parse(password: str, address: str | None = None) -> str:
    try:
        return parse_password(password, address)
    except ValueError as error:
        raise InvalidFieldError.of("new_password", str(error)) from None
