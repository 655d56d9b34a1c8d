"""Give an account a key: its row, its audit entry and its event, in the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.auth.announce import note_change
from services.auth.api_keys import ApiKey, new_api_key
from services.auth.audit import Actor, record_audit
from services.auth.store.api_keys import Origin, insert_api_key
from shared.event_log.outbox import OutboxEvent
from shared.ids import uuid7
from shared.postgres import Connection


class IssuedKey(NamedTuple):
    """A new key in the one moment in which its plain text is known, and its event, to be published."""

    key_id: UUID
    key: ApiKey
    event: OutboxEvent


async def issue_key(
    connection: Connection,
    by: Actor,
    *,
    account_id: UUID,
    name: str | None,
    scopes: Sequence[str],
    at: datetime,
    expires_at: datetime | None = None,
    key: ApiKey | None = None,
    replaces: UUID | None = None,
    origin: Origin = "made",
) -> IssuedKey:
    """Add a key.

    Args:
        connection: in a transaction.
        by: who asks for it.
        account_id: whose it is.
        name: what it is for.
        scopes: what it may do.
        at: now.
        expires_at: when it ends; None is never.
        key: one that somebody has already; a new one by default.
        replaces: the key that it takes the place of, where it does; the event names that one as well.
        origin: how it comes about.
    """
    key, key_id = key or new_api_key(), uuid7()
    await insert_api_key(
        connection,
        account_id=account_id,
        key_id=key_id,
        key_sha256=key.sha256,
        prefix=key.prefix,
        name=name,
        scopes=scopes,
        created_at=at,
        expires_at=expires_at,
        origin=origin,
        made_by=by.key_id,
    )
    facts = {
        "name": name,
        "prefix": key.prefix,
        "scopes": list(scopes),
        "expires_at": expires_at,
    }
    await record_audit(
        connection, by, "key.created", account_id=account_id, at=at, target_id=key_id, after=facts
    )
    changed = [key_id] if replaces is None else [key_id, replaces]
    event = await note_change(connection, account_id, at, changed)
    return IssuedKey(key_id, key, event)
