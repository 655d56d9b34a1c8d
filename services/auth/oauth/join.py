"""Find the account of somebody at a provider, or open one.

By provider and subject they are known again, whatever has become of their address. Whoever comes for the
first time joins the account of an address that the provider has checked, if there is one. Had nobody ever
shown to read mail to that account's address, it may be a stranger's who registered it: then whatever could
open the account until now ends. Had somebody shown it by resetting the password, the keys of the time before,
and those made by them, may still be the stranger's: then these end. What the stranger set up in other
services ends there as well, as the event says.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.auth.announce import note_change
from services.auth.api_keys import CUSTOMER_SCOPES
from services.auth.audit import Actor, record_audit
from services.auth.emails import Email, parse_email
from services.auth.issue_key import IssuedKey, issue_key
from services.auth.oauth.provider import Identity
from services.auth.open_account import open_account
from services.auth.store.accounts import (
    Account,
    find_account_by_email,
    lock_account,
    mark_email_verified,
    remove_password,
)
from services.auth.store.api_keys import revoke_all_keys, revoke_unproven_keys
from services.auth.store.identities import find_identity, insert_identity
from services.auth.store.sessions import delete_sessions
from shared.clock import Clock
from shared.errors import EmailNotVerifiedError, ForbiddenError
from shared.event_log.outbox import OutboxEvent
from shared.postgres import Connection


class RacedError(Exception):
    """The same was done by another request at the same time: roll back, and look again."""


class Joined(NamedTuple):
    """An account, with its new first key where it got one, and events to publish."""

    account: Account
    first_key: IssuedKey | None
    events: list[OutboxEvent]


async def join_account(connection: Connection, who: Identity, client: str | None, clock: Clock) -> Joined:
    """Find or open the account, which is locked then.

    Args:
        connection: in a transaction.
        who: by the provider.
        client: the address that the request came from.
        clock: tells when, once the account is locked: later than all that was done by what ends here.

    Raises:
        EmailNotVerifiedError: they are new, and the provider tells no address that it has checked.
        ForbiddenError: the address is none that can have an account, or the account is suspended.
        RacedError: as above.
    """
    known = await find_identity(connection, who.provider, who.subject)
    if known is not None:
        return Joined(_usable(await lock_account(connection, known)), None, [])
    email = _address_of(who)
    found = await find_account_by_email(connection, email.key)
    if found is None:
        return await _open(connection, who, email, client, clock.now())
    account = _usable(await lock_account(connection, found.account_id))
    at = clock.now()
    by = Actor("account", account.account_id, client=client)
    await _link(connection, by, who, account, at)
    if account.email_verified_at is not None:
        return Joined(account, None, await _end_unproven_keys(connection, by, account, at))
    ended = await _end_all_access(connection, by, account, at)
    return await _with_first_key(connection, by, account, at, [ended])


async def _open(
    connection: Connection, who: Identity, email: Email, client: str | None, at: datetime
) -> Joined:
    opened = await open_account(
        connection, email, organization=None, password_hash=None, client=client, at=at
    )
    if opened is None:
        raise RacedError
    account, by = opened
    await mark_email_verified(connection, account.account_id, at)
    await _link(connection, by, who, account, at)
    return await _with_first_key(connection, by, account, at, [])


async def _link(connection: Connection, by: Actor, who: Identity, account: Account, at: datetime) -> None:
    if not await insert_identity(
        connection,
        provider=who.provider,
        subject=who.subject,
        account_id=account.account_id,
        linked_at=at,
    ):
        raise RacedError
    after = {"provider": who.provider, "subject": who.subject, "email": who.email}
    await record_audit(connection, by, "identity.linked", account_id=account.account_id, at=at, after=after)


async def _end_all_access(connection: Connection, by: Actor, account: Account, at: datetime) -> OutboxEvent:
    """Take password, sessions and keys from whoever had them. The address counts as verified from now on."""
    account_id = account.account_id
    had_password = await remove_password(connection, account_id)
    sessions = await delete_sessions(connection, account_id)
    revoked = await revoke_all_keys(connection, account_id, at)
    ended = {"password": had_password, "sessions": sessions, "keys": len(revoked)}
    await _record_reclaiming(connection, by, at, revoked, ended)
    await mark_email_verified(connection, account_id, at)
    return await note_change(connection, account_id, at, void_before=at)


async def _end_unproven_keys(
    connection: Connection, by: Actor, account: Account, at: datetime
) -> list[OutboxEvent]:
    revoked = await revoke_unproven_keys(connection, account.account_id, at)
    if not revoked:
        return []
    await _record_reclaiming(connection, by, at, revoked, {"unproven_keys": len(revoked)})
    void_before = account.email_verified_at
    return [await note_change(connection, account.account_id, at, revoked, void_before=void_before)]


async def _record_reclaiming(
    connection: Connection, by: Actor, at: datetime, revoked: Sequence[UUID], ended: Mapping[str, int]
) -> None:
    assert by.account_id is not None  # noqa: S101 - whoever joins an account is its owner
    for key_id in revoked:
        await record_audit(connection, by, "key.revoked", account_id=by.account_id, at=at, target_id=key_id)
    await record_audit(
        connection,
        by,
        "account.reclaimed",
        account_id=by.account_id,
        at=at,
        before=ended,
        after={name: type(value)(0) for name, value in ended.items()},
    )


async def _with_first_key(
    connection: Connection, by: Actor, account: Account, at: datetime, events: list[OutboxEvent]
) -> Joined:
    issued = await issue_key(
        connection,
        by,
        account_id=account.account_id,
        name=None,
        scopes=CUSTOMER_SCOPES,
        at=at,
        origin="first",
    )
    return Joined(account, issued, [*events, issued.event])


def _usable(account: Account) -> Account:
    if account.suspended_at is not None:
        raise ForbiddenError("This account is suspended.")
    return account


def _address_of(who: Identity) -> Email:
    if who.email is None:
        raise EmailNotVerifiedError(
            f"{who.provider} tells no email address of yours that it has verified: verify it there first."
        )
    try:
        return parse_email(who.email)
    except ValueError:  # its sentence may repeat what cannot even be encoded
        raise ForbiddenError(f"With your address at {who.provider} there can be no account here.") from None
