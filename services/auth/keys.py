"""An account's keys: list, make, change, rotate and revoke them.

Changes of one account's keys are made one after the other, under its lock, and by whoever still may then.
Whoever makes or renews a key can give it no scope that the asking key has not, and no longer life: a stolen
key must not become a mightier one, or one that outlives it.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from msgspec import UNSET, UnsetType

from services.auth.announce import KeyChanges, note_change
from services.auth.api_keys import OPERATOR_SCOPES
from services.auth.audit import Action, Actor, record_audit
from services.auth.fields import attempt, parse_end, parse_key_name
from services.auth.issue_key import issue_key
from services.auth.key_messages import KeyChange, KeyPage, KeyRequest, KeyView, NewKey
from services.auth.standing import Standing, require_standing
from services.auth.store.accounts import get_account, lock_account
from services.auth.store.api_keys import (
    StoredKey,
    count_live_keys,
    find_key,
    list_keys,
    update_key,
)
from shared.clock import Clock, rfc3339
from shared.contracts.keys import SCOPE_LOG, SCOPE_READ
from shared.errors import ConflictError, Fault, ForbiddenError, InvalidFieldError, NotFoundError
from shared.postgres import Connection, Database

_ENDED = "The key has expired: it can be neither changed nor rotated."
_OUTLIVES = "The asking key expires, and cannot give scopes or a successor to a key that outlives it."


class Asking(NamedTuple):
    """Who asks for something to be done with keys of an account.

    Attributes:
        account_id: whose keys.
        scope: what that takes; None where every key and session may.
        by: the key or session.
    """

    account_id: UUID
    scope: str | None
    by: Actor


class AccountKeys:
    """Keys of any account. Who may do so is decided before.

    Args:
        database: holds them.
        changes: tells the gateways.
        clock: tells which keys have ended.
        max_keys: the most that live at a time in one account.
    """

    def __init__(self, database: Database, changes: KeyChanges, clock: Clock, max_keys: int) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock
        self._max_keys = max_keys

    @property
    def meaning(self) -> dict[str, Callable[[Any], object]]:
        """What is asked of fields of a request or a change, beyond their types."""
        return {"name": parse_key_name, "expires_at": self._parse_end}

    def _parse_end(self, text: str | None) -> datetime | None:
        return parse_end(text, self._clock.now())

    async def list(self, asking: Asking, *, with_ended: bool, limit: int, cursor: UUID | None) -> KeyPage:
        """Keys, newest first, `limit` at a time; those that have ended only where they are asked for.

        Raises:
            NotFoundError: there is no such account.
            UnavailableError: the database is away.
        """
        async with self._database.connection() as connection:
            found = await list_keys(
                connection,
                asking.account_id,
                at=self._clock.now(),
                with_ended=with_ended,
                before=cursor,
                limit=limit + 1,
            )
            if not found:
                await get_account(connection, asking.account_id)
        page = found[:limit]
        return KeyPage(
            keys=[_view(key, asking) for key in page], next=page[-1].key_id if len(found) > limit else None
        )

    async def create(self, asking: Asking, request: KeyRequest) -> NewKey:
        """Make a key.

        Raises:
            InvalidFieldError: a field is wrong; all that are wrong are named.
            UnauthenticatedError: the asking key or session has ended.
            ForbiddenError: the asking key has not one of the scopes itself.
            ConflictError: the account has as many keys as it may.
            UnavailableError: the database is away.
        """
        faults: list[Fault] = []
        name = attempt("name", parse_key_name, request.name, faults)
        expires_at = attempt("expires_at", self._parse_end, request.expires_at, faults)
        if faults:
            raise InvalidFieldError.all(faults)
        async with self._database.transaction() as connection:
            now, own = await self._lock(connection, asking)
            if expires_at is None:
                expires_at = own.until
            _require_reach(own, expires_at)
            scopes = (
                _ordered(scope for scope in (SCOPE_LOG, SCOPE_READ) if scope in own.scopes)
                if request.scopes is None
                else _ordered(request.scopes)
            )
            if not scopes:
                raise InvalidFieldError.of("scopes", "is required: the asking key has neither log nor read.")
            _require_own(own, scopes)
            await self._require_room(connection, asking, now)
            issued = await issue_key(
                connection,
                asking.by,
                account_id=asking.account_id,
                name=name,
                scopes=scopes,
                at=now,
                expires_at=expires_at,
            )
            made = await _get(connection, asking, issued.key_id)
        await self._changes.publish(issued.event)
        return NewKey(api_key=issued.key.plain, key=_view(made, asking))

    async def change(self, asking: Asking, key_id: UUID, change: KeyChange) -> KeyView:
        """Change name, scopes or expiry of a key that lives.

        Raises:
            InvalidFieldError: a field is wrong; all that are wrong are named.
            UnauthenticatedError: the asking key or session has ended.
            NotFoundError: the account has no such key, or it is revoked.
            ForbiddenError: the asking key has not itself a scope that is added, or expires before that key.
            ConflictError: the key has expired.
            UnavailableError: the database is away.
        """
        faults: list[Fault] = []
        name = (
            UNSET
            if isinstance(change.name, UnsetType)
            else attempt("name", parse_key_name, change.name, faults)
        )
        ends = change.expires_at
        expires_at = (
            UNSET if isinstance(ends, UnsetType) else attempt("expires_at", self._parse_end, ends, faults)
        )
        if faults:
            raise InvalidFieldError.all(faults)
        async with self._database.transaction() as connection:
            now, own = await self._lock(connection, asking)
            key = await _get(connection, asking, key_id)
            if not key.is_live(now):
                raise ConflictError(_ENDED)
            changed = key._replace(
                name=key.name if isinstance(name, UnsetType) else name,
                scopes=key.scopes if isinstance(change.scopes, UnsetType) else _ordered(change.scopes),
                expires_at=key.expires_at if isinstance(expires_at, UnsetType) else expires_at,
            )
            more = [scope for scope in changed.scopes if scope not in key.scopes]
            _require_own(own, more)
            if _is_later(changed.expires_at, key.expires_at):
                _require_reach(own, changed.expires_at)
            elif more and not own.reaches(changed.expires_at):
                raise ForbiddenError(_OUTLIVES)
            if changed == key:
                return _view(key, asking)
            await _store(connection, asking, "key.changed", (key, changed), now)
            event = await note_change(connection, asking.account_id, now, [key_id])
        await self._changes.publish(event)
        return _view(changed, asking)

    async def rotate(self, asking: Asking, key_id: UUID, grace: timedelta) -> NewKey:
        """Make a key with the name, scopes and expiry of another one, which lives on for a while.

        Args:
            asking: who asks.
            key_id: the old key.
            grace: for how long it goes on, but not beyond its own end; zero revokes it.

        Raises:
            UnauthenticatedError: the asking key or session has ended.
            NotFoundError: the account has no such key, or it is revoked.
            ForbiddenError: the old key has a scope that the asking key has not, or outlives it.
            ConflictError: the old key has expired, or the account has as many keys as it may.
            UnavailableError: the database is away.
        """
        async with self._database.transaction() as connection:
            now, own = await self._lock(connection, asking)
            old = await _get(connection, asking, key_id)
            if not old.is_live(now):
                raise ConflictError(_ENDED)
            _require_own(own, old.scopes)
            if not own.reaches(old.expires_at):
                raise ForbiddenError(_OUTLIVES)
            end = now + grace
            ending = (
                old._replace(expires_at=end if old.expires_at is None else min(old.expires_at, end))
                if grace
                else old._replace(revoked_at=now)
            )
            await update_key(connection, asking.account_id, ending)
            await self._require_room(connection, asking, now)
            issued = await issue_key(
                connection,
                asking.by,
                account_id=asking.account_id,
                name=old.name,
                scopes=old.scopes,
                at=now,
                expires_at=old.expires_at,
                replaces=old.key_id,
            )
            await _store(connection, asking, "key.rotated", (old, ending), now, replaced_by=issued.key_id)
            made = await _get(connection, asking, issued.key_id)
        await self._changes.publish(issued.event)
        return NewKey(api_key=issued.key.plain, key=_view(made, asking), replaces=_view(ending, asking))

    async def revoke(self, asking: Asking, key_id: UUID) -> None:
        """End a key now, for ever.

        Raises:
            UnauthenticatedError: the asking key or session has ended.
            NotFoundError: the account has no such key, or it is revoked already.
            UnavailableError: the database is away.
        """
        async with self._database.transaction() as connection:
            now, _ = await self._lock(connection, asking)
            key = await _get(connection, asking, key_id)
            revoked = key._replace(revoked_at=now)
            await _store(connection, asking, "key.revoked", (key, revoked), now)
            event = await note_change(connection, asking.account_id, now, [key_id])
        await self._changes.publish(event)

    async def _lock(self, connection: Connection, asking: Asking) -> tuple[datetime, Standing]:
        """Lock the account; tells the instant of the change, and what it may give to keys."""
        await lock_account(connection, asking.account_id)
        now = self._clock.now()
        return now, await require_standing(connection, asking.by, asking.scope, now)

    async def _require_room(self, connection: Connection, asking: Asking, now: datetime) -> None:
        if await count_live_keys(connection, asking.account_id, now) >= self._max_keys:
            raise ConflictError(
                f"The account has {self._max_keys} keys, as many as it may. Revoke one first."
            )


async def _get(connection: Connection, asking: Asking, key_id: UUID) -> StoredKey:
    key = await find_key(connection, asking.account_id, key_id)
    if key is None or key.revoked_at is not None:
        raise NotFoundError("There is no such key.")
    return key


async def _store(
    connection: Connection,
    asking: Asking,
    action: Action,
    change: tuple[StoredKey, StoredKey],
    at: datetime,
    **more: Any,  # noqa: ANN401 - any JSON value
) -> None:
    """Store a change of a key, and write down what it changed."""
    before, after = change
    await update_key(connection, asking.account_id, after)
    names = [
        name
        for name in ("name", "scopes", "expires_at", "revoked_at")
        if getattr(before, name) != getattr(after, name)
    ]
    await record_audit(
        connection,
        asking.by,
        action,
        account_id=asking.account_id,
        at=at,
        target_id=before.key_id,
        before={name: getattr(before, name) for name in names},
        after={name: getattr(after, name) for name in names} | more,
    )


def _is_later(end: datetime | None, before: datetime | None) -> bool:
    return before is not None and (end is None or end > before)


def _require_reach(own: Standing, end: datetime | None) -> None:
    if own.until is not None and not own.reaches(end):
        raise InvalidFieldError.of(
            "expires_at",
            f"must not be later than {rfc3339(own.until)}, when the asking key expires.",
        )


def _require_own(own: Standing, scopes: Iterable[str]) -> None:
    missing = [scope for scope in scopes if scope not in own.scopes]
    if missing:
        raise ForbiddenError(f"A key cannot give what it has not itself: {', '.join(missing)}.")


def _ordered(scopes: Iterable[str]) -> tuple[str, ...]:
    """Each scope once, in the order in which all keys have them."""
    wanted = set(scopes)
    return tuple(scope for scope in OPERATOR_SCOPES if scope in wanted)


def _view(key: StoredKey, asking: Asking) -> KeyView:
    return KeyView(
        id=key.key_id,
        name=key.name,
        prefix=key.prefix,
        scopes=list(key.scopes),
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
        current=key.key_id == asking.by.key_id,
    )
