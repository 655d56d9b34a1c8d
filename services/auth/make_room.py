"""Revoke the older keys of one origin when a newer one takes their place."""

from datetime import datetime
from uuid import UUID

from services.auth.audit import Actor, record_audit
from services.auth.store.api_keys import Origin, revoke_older_keys
from shared.postgres import Connection


async def make_room(
    connection: Connection, by: Actor, account_id: UUID, origin: Origin, *, keep: int, at: datetime
) -> list[UUID]:
    """Revoke an account's keys of one origin but for the newest ones; tells which.

    The account is locked. The caller says so by `note_change`.
    """
    revoked = await revoke_older_keys(connection, account_id, origin, keep=keep, at=at)
    for key_id in revoked:
        await record_audit(connection, by, "key.revoked", account_id=account_id, at=at, target_id=key_id)
    return revoked
