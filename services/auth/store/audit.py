"""The table of the audit log. Entries are added and read; a trigger refuses everything else."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from shared.postgres import Connection

Place = tuple[datetime, UUID]
"""Where an entry stands: its instant and its id, in the order of the list."""


class StoredEntry(NamedTuple):
    """One thing that was done; `before` and `after` are JSON texts."""

    account_id: UUID
    entry_id: UUID
    happened_at: datetime
    action: str
    actor: str
    actor_account_id: UUID | None
    actor_key_id: UUID | None
    actor_session_id: UUID | None
    client: str | None
    target_id: UUID | None
    before: str | None
    after: str | None


_COLUMNS: Final = ", ".join(StoredEntry._fields)

INSERT_ENTRY: Final = f"""
INSERT INTO auth.audit ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::jsonb, $12::jsonb)
ON CONFLICT (account_id, entry_id) DO NOTHING
"""  # noqa: S608 - constants only


async def insert_entry(connection: Connection, entry: StoredEntry) -> None:
    """Add an entry, in the transaction of what it tells of, unless it is there."""
    await connection.execute(INSERT_ENTRY, *entry)


LIST_ENTRIES: Final = f"""
SELECT {_COLUMNS} FROM auth.audit
WHERE ($1::uuid IS NULL OR account_id = $1)
  AND ($2::text IS NULL OR action = $2)
  AND ($3::timestamptz IS NULL OR happened_at >= $3)
  AND ($4::timestamptz IS NULL OR happened_at < $4)
  AND ($5::timestamptz IS NULL OR (happened_at, entry_id) < ($5, $6::uuid))
ORDER BY happened_at DESC, entry_id DESC
LIMIT $7
"""  # noqa: S608 - constants only


async def list_entries(
    connection: Connection,
    *,
    account_id: UUID | None,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
    before: Place | None,
    limit: int,
) -> list[StoredEntry]:
    """Entries of one account, or of all, newest first, from `since` on and earlier than `until`."""
    at, entry_id = before or (None, None)
    rows = await connection.fetch(LIST_ENTRIES, account_id, action, since, until, at, entry_id, limit)
    return [StoredEntry(*row) for row in rows]
