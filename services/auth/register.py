"""Open an account: its row, its first key and the event of both, in one transaction."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from services.auth.announce import KeyChanges
from services.auth.api_keys import CUSTOMER_SCOPES
from services.auth.emails import Email, parse_email
from services.auth.fields import attempt, parse_key_name, parse_text, require_accepted
from services.auth.issue_key import issue_key
from services.auth.open_account import open_account
from services.auth.passwords import PasswordHashes, parse_password
from services.auth.store.accounts import Account
from services.auth.store.mails import insert_mail
from shared.clock import Clock
from shared.errors import ConflictError, Fault, InvalidFieldError
from shared.postgres import Database

MEANING: Final[dict[str, Callable[[Any], object]]] = {
    "email": parse_email,
    "password": parse_password,
    "organization": parse_text,
    "project_name": parse_key_name,
    "accept_terms": require_accepted,
}
"""What is asked of fields, beyond their types."""


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
        address = attempt("email", parse_email, email, faults)
        known = None if address is None else address.address
        secret = attempt("password", partial(parse_password, address=known), password, faults)
        organization = attempt("organization", parse_text, organization, faults)
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
        address = attempt("email", parse_email, email, faults)
        organization = attempt("organization", parse_text, organization, faults)
        project_name = attempt("project_name", parse_key_name, project_name, faults)
        attempt("accept_terms", require_accepted, accept_terms, faults)
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
