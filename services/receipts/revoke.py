"""Marking a key as compromised: from an instant on, nothing it signed counts."""

from datetime import datetime
from typing import NamedTuple

from services.receipts.store.keys import Signed, count_signed, list_keys, lock_keys, update_revoked
from shared.clock import Clock, rfc3339
from shared.postgres import Database


class RevocationError(Exception):
    """Nothing was changed; the text says why, and what a person can do."""


class Revocation(NamedTuple):
    """What was done.

    Attributes:
        signed: how many receipts of the key still count, and how many do not.
        current_key_id: the key that signs now; None where none does.
    """

    signed: Signed
    current_key_id: str | None


async def revoke_key(
    database: Database, key_id: str, at: datetime, clock: Clock, *, stop_signing: bool = False
) -> Revocation:
    """Mark a key as one that somebody else may hold since `at`. This cannot be undone.

    Processes that hold the key notice in their next transaction. An earlier time may be set later on, when
    more is known; a later one would make receipts good again that were called bad.

    Args:
        database: of the schema `receipts`.
        key_id: which key.
        at: since when it may be in other hands.
        clock: the present.
        stop_signing: revoke the current key although no other one signs then.

    Raises:
        RevocationError: there is no such key, the time makes no sense, or it is the current key.
        UnavailableError: the database is away.
    """
    async with database.transaction() as connection:
        await lock_keys(connection)
        known = {row.key_id: row for row in await list_keys(connection)}
        row = known.get(key_id)
        if row is None:
            raise RevocationError(f"there is no key {key_id}; known are {', '.join(known) or 'none'}")
        if at > clock.now():
            raise RevocationError("the time is still to come: a key is revoked since it was compromised")
        if at < row.not_before:
            raise RevocationError(
                f"the time is before the key was published, at {rfc3339(row.not_before)}; give that one to "
                "have nothing count that it signed"
            )
        if row.revoked_at is not None and at > row.revoked_at:
            raise RevocationError(
                f"the key is revoked since {rfc3339(row.revoked_at)}; it can only be set earlier"
            )
        if row.status == "current" and not stop_signing:
            raise RevocationError(
                "it is the key that signs now: rotate first. With --stop-signing no key signs afterwards"
            )
        await update_revoked(connection, key_id, at)
    async with database.connection() as connection:
        signed = await count_signed(connection, key_id, at)
    current = next((key for key, each in known.items() if each.status == "current" and key != key_id), None)
    return Revocation(signed, current)
