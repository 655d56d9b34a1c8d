"""Read the audit log, a page at a time."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from services.auth.store.audit import Place, StoredEntry, list_entries
from shared.clock import parse_rfc3339
from shared.errors import InvalidFieldError
from shared.postgres import Database

MAX_AUDIT_PAGE: Final = 500

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class AuditActor(msgspec.Struct, frozen=True, kw_only=True):
    """Who did it: `account`, `key`, `session`, `operator`, `command_line` or `first_start`.

    Which key an operator used is told to operators alone.
    """

    kind: str
    account_id: UUID | None
    key_id: UUID | None
    session_id: UUID | None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was done to an account.

    Attributes:
        client: the address it came from, or user@host of a command line. An operator's is told to operators
            alone.
        target_id: the key it was done to; null where it was the account itself.
        before: what it was, as far as it changed; null where it is new.
        after: what it is now.
    """

    id: UUID
    at: datetime
    action: str
    account_id: UUID
    actor: AuditActor
    client: str | None
    target_id: UUID | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Entries, newest first; `next` is the `cursor` of the following page, or null on the last one."""

    entries: list[AuditEntry]
    next: str | None


class AuditLog:
    """Reads the log. Who may read what is decided before."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(
        self,
        account_id: UUID | None,
        *,
        action: str | None,
        since: str | None,
        until: str | None,
        cursor: str | None,
        limit: int,
        to_operator: bool,
    ) -> AuditPage:
        """Entries of one account, or of all, newest first.

        Args:
            account_id: None is all.
            action: only entries of this one.
            since: RFC 3339; only entries from then on.
            until: RFC 3339; only earlier ones.
            cursor: `next` of the page before.
            limit: how many.
            to_operator: who reads: a customer is not told which key an operator used, and from where.

        Raises:
            InvalidFieldError: an instant or the cursor is wrong.
            UnavailableError: the database is away.
        """
        begin, end = _instant("since", since), _instant("until", until)
        if begin is not None and end is not None and begin > end:
            raise InvalidFieldError.of("since", "must not be after until.")
        before = None if cursor is None else _read_cursor(cursor)
        if action is not None and "\0" in action:
            return AuditPage(entries=[], next=None)
        async with self._database.connection() as connection:
            found = await list_entries(
                connection,
                account_id=account_id,
                action=action,
                since=begin,
                until=end,
                before=before,
                limit=limit + 1,
            )
        page = found[:limit]
        return AuditPage(
            entries=[_view(entry, to_operator=to_operator) for entry in page],
            next=_write_cursor(page[-1]) if len(found) > limit else None,
        )


def _view(entry: StoredEntry, *, to_operator: bool) -> AuditEntry:
    told = to_operator or entry.actor in ("account", "key", "session")
    return AuditEntry(
        id=entry.entry_id,
        at=entry.happened_at,
        action=entry.action,
        account_id=entry.account_id,
        actor=AuditActor(
            kind=entry.actor,
            account_id=entry.actor_account_id if told else None,
            key_id=entry.actor_key_id if told else None,
            session_id=entry.actor_session_id if told else None,
        ),
        client=entry.client if told else None,
        target_id=entry.target_id,
        before=None if entry.before is None else msgspec.json.decode(entry.before),
        after=None if entry.after is None else msgspec.json.decode(entry.after),
    )


def _instant(field: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise InvalidFieldError.of(field, f"{error}.") from None


def _write_cursor(entry: StoredEntry) -> str:
    text = f"{(entry.happened_at - _EPOCH) // _MICROSECOND}.{entry.entry_id.hex}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> Place:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        microseconds, entry_id = text.split(".")
        return _EPOCH + int(microseconds) * _MICROSECOND, UUID(entry_id)
    except (ValueError, OverflowError, binascii.Error):
        raise InvalidFieldError.of("cursor", "is not one that this API gave out.") from None
