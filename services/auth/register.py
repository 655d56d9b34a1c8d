"""Open an account: its row, its first key and the event of both, in one transaction."""

from typing import NamedTuple

from services.auth.announce import KeyChanges
from services.auth.api_keys import CUSTOMER_SCOPES
from services.auth.emails import Email, parse_email
from services.auth.issue_key import issue_key
from services.auth.open_account import open_account
from services.auth.passwords import PasswordHashes, parse_password
from services.auth.store.accounts import Account
from services.auth.store.mails import insert_mail
from shared.clock import Clock
from shared.errors import ConflictError, Fault, InvalidFieldError
from shared.postgres import Database


class NewAccount(NamedTuple):
    """An account and the plain text of its first key, in the one moment in which it is known."""

    account: Account
    api_key: str

    def __repr__(self) -> str:
        return f"NewAccount(account_id={self.account.account_id})"  # the plain key never reaches a log


class Registration:
    """Opens customers' accounts, on the free tier."""

    def __init__(
        self, database: Database, changes: KeyChanges, passwords: PasswordHashes, clock: Clock
    ) -> None:
        self._database = database
        self._changes = changes
        self._passwords = passwords
        self._clock = clock

    async def register(
        self, *, email: str, password: str, organization: str | None, client: str | None = None
    ) -> NewAccount:
        """Open an account with a password.

        Args:
            email: its address.
            password: at least 10 characters.
            organization: whose it is.
            client: the address that the request comes from.

        Raises:
            InvalidFieldError: an argument is wrong; all that are wrong are named.
            ConflictError: the address has an account.
            UnavailableError: the database is away, or too many passwords are being hashed.
        """
        faults: list[Fault] = []
        address = _parse_email(email, faults)
        secret = _parse_password(password, faults)
        organization = _parse_text("organization", organization, faults)
        if address is None or secret is None or faults:
            raise InvalidFieldError.all(faults)
        password_hash = await self._passwords.hash(secret)
        return await self._open(
            address, organization, password_hash=password_hash, key_name=None, client=client
        )

    async def register_from_cli(
        self,
        *,
        email: str,
        organization: str | None,
        project_name: str | None,
        accept_terms: bool,
        client: str | None = None,
    ) -> NewAccount:
        """Open an account without a password, for `llmring register`, and send a link to set one.

        Raises:
            InvalidFieldError: an argument is wrong, or the terms are not accepted.
            ConflictError: the address has an account.
            UnavailableError: the database is away.
        """
        faults: list[Fault] = []
        address = _parse_email(email, faults)
        organization = _parse_text("organization", organization, faults)
        project_name = _parse_text("project_name", project_name, faults)
        if not accept_terms:
            faults.append(Fault("accept_terms", "must be true: the terms have to be accepted."))
        if address is None or faults:
            raise InvalidFieldError.all(faults)
        return await self._open(
            address, organization, password_hash=None, key_name=project_name, client=client
        )

    async def _open(
        self,
        email: Email,
        organization: str | None,
        *,
        password_hash: str | None,
        key_name: str | None,
        client: str | None,
    ) -> NewAccount:
        now = self._clock.now()
        async with self._database.transaction() as connection:
            opened = await open_account(
                connection,
                email,
                organization=organization,
                password_hash=password_hash,
                client=client,
                at=now,
            )
            if opened is None:
                raise ConflictError("This email address already has an account.")
            account, by = opened
            issued = await issue_key(
                connection,
                by,
                account_id=account.account_id,
                name=key_name,
                scopes=CUSTOMER_SCOPES,
                at=now,
                origin="first",
            )
            if password_hash is None:
                await insert_mail(connection, "set_password", email.key, now)
        await self._changes.publish(issued.event)
        return NewAccount(account, issued.key.plain)


def _parse_email(text: str, faults: list[Fault]) -> Email | None:
    try:
        return parse_email(text)
    except ValueError as error:
        faults.append(Fault("email", str(error)))
        return None


def _parse_password(text: str, faults: list[Fault]) -> str | None:
    try:
        return parse_password(text)
    except ValueError as error:
        faults.append(Fault("password", str(error)))
        return None


def _parse_text(field: str, text: str | None, faults: list[Fault]) -> str | None:
    if text is not None and "\0" in text:
        faults.append(Fault(field, "must not contain a NUL character."))
    return (text or "").strip() or None
