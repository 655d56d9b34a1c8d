"""The audit log: who did what to an account, when, from where, and what it was before and after.

An entry is written in the transaction of the change it tells of, so that neither is without the other.
"""

import getpass
import re
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from services.auth.store.accounts import Account
from services.auth.store.audit import StoredEntry, insert_entry
from shared.contracts.keys import CallerKind, Principal
from shared.contracts.webhooks import WebhookAction
from shared.ids import uuid7
from shared.postgres import Connection

Action = (
    WebhookAction
    | Literal[
        "account.opened",
        "account.changed",
        "key.created",
        "key.changed",
        "key.rotated",
        "key.revoked",
        "session.opened",
        "session.ended",
        "identity.linked",
        "account.reclaimed",
        "password.reset",
        "receipt.read",
    ]
)
ActorKind = CallerKind | Literal["account", "command_line", "first_start", "system"]

_MAX_CLIENT_CHARS: Final = 255
_KEY_TEXT: Final = re.compile(rb"(llmr_pk_[0-9a-fA-F]{8})[0-9a-fA-F]+")
_encoder = msgspec.json.Encoder()


class Actor(NamedTuple):
    """Who does something, and from where.

    Attributes:
        kind: `account` is whoever registers, shows a password or comes from a provider; `key` and `session`
            are the account's own; `operator` is a key of that scope; `command_line`, `first_start` and
            `system` came by no request.
        account_id: whose key or session it is.
        client: the client's address, or user@host.
    """

    kind: ActorKind
    account_id: UUID | None = None
    key_id: UUID | None = None
    session_id: UUID | None = None
    client: str | None = None


def actor_of(principal: Principal, client: str | None) -> Actor:
    """Whoever holds the key or the session of this principal."""
    return caller(principal.kind, principal.account_id, principal.key_id, client)


def caller(kind: CallerKind, account_id: UUID, credential_id: UUID, client: str | None) -> Actor:
    """Whoever holds the key or the session of this id."""
    if kind == "session":
        return Actor(kind, account_id, session_id=credential_id, client=client)
    return Actor(kind, account_id, credential_id, client=client)


def local_actor(kind: Literal["command_line", "first_start"]) -> Actor:
    """Whoever runs this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "?"
    return Actor(kind, client=f"{user}@{socket.gethostname()}")


async def record_audit(
    connection: Connection,
    by: Actor,
    action: Action,
    *,
    account_id: UUID,
    at: datetime,
    target_id: UUID | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    entry_id: UUID | None = None,
) -> None:
    """Add an entry, in the transaction of the change.

    Args:
        connection: in the transaction.
        by: who did it.
        action: what was done.
        account_id: whose account it was done to.
        at: the instant of the change.
        target_id: what it was done to, where that is not the account: a key, a session, a webhook.
        before: what it was, as far as it changed. Never a secret; the text of an API key is cut all the same.
        after: what it is now, likewise.
        entry_id: of what another service tells, maybe twice: it is added once.
    """
    entry = StoredEntry(
        account_id=account_id,
        entry_id=entry_id or uuid7(),
        happened_at=at,
        action=action,
        actor=by.kind,
        actor_account_id=by.account_id,
        actor_key_id=by.key_id,
        actor_session_id=by.session_id,
        client=None if by.client is None else by.client[:_MAX_CLIENT_CHARS],
        target_id=target_id,
        before=_json(before),
        after=_json(after),
    )
    await insert_entry(connection, entry)


async def record_opening(connection: Connection, by: Actor, account: Account) -> None:
    """Add the entry of an account that has been opened."""
    await record_audit(
        connection,
        by,
        "account.opened",
        account_id=account.account_id,
        at=account.created_at,
        after={
            "email": account.email,
            "organization": account.organization,
            "role": account.role,
            "tier": account.tier,
        },
    )


def _json(facts: Mapping[str, Any] | None) -> str | None:
    return None if facts is None else _KEY_TEXT.sub(rb"\1...", _encoder.encode(facts)).decode()
