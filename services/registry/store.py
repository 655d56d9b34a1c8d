"""The versions in Postgres. Rows are only ever added; see `migrations`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from services.registry.lineage import Book
from shared.contracts.registry import VersionListing
from shared.postgres import Connection, Row
from shared.pricing.versions import VersionKey

PUBLISHING_LOCK: Final = 0x6C6C6D72_72656769
"""The advisory lock that whoever adds versions holds until the commit, so that they come one by one."""


class NewVersion(NamedTuple):
    """A version to be stored, with the bytes that it will be served as."""

    key: VersionKey
    listing: VersionListing
    body: bytes
    published_by: UUID | None


class Filing(NamedTuple):
    """What a version changed against the one that it was built on.

    Attributes:
        base: that one's name; None for the first of all.
        changes: JSON with `changes` and `provider_changes`.
        books: the providers whose models changed, and when those were published.
        entries: the JSON of each model that changed, by key; None where it was removed.
    """

    key: VersionKey
    base: str | None
    changes: bytes
    books: Mapping[str, datetime]
    entries: Mapping[str, bytes | None]


LOCK_PUBLISHING: Final = "SELECT pg_advisory_xact_lock($1)"


async def lock_publishing(connection: Connection) -> None:
    """Wait until no other transaction is adding versions; held until this one ends."""
    await connection.execute(LOCK_PUBLISHING, PUBLISHING_LOCK)


INSERT_VERSION: Final = """
    INSERT INTO registry.versions
        (day, ordinal, version, generated_at, effective_from, digest, models, body, published_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""


async def insert_versions(connection: Connection, versions: Sequence[NewVersion]) -> int:
    """Add versions, under `lock_publishing`, and say how many; one that exists already is an error."""
    await connection.executemany(
        INSERT_VERSION,
        [
            (
                *each.key,
                each.listing.version,
                each.listing.generated_at,
                each.listing.effective_from,
                each.listing.digest,
                each.listing.models,
                each.body,
                each.published_by,
            )
            for each in versions
        ],
    )
    return len(versions)


INSERT_CHANGES: Final = "INSERT INTO registry.changes (day, ordinal, base, changes) VALUES ($1, $2, $3, $4)"
INSERT_BOOKS: Final = """
    INSERT INTO registry.books (provider, number, day, ordinal, updated_at)
    SELECT new.provider,
           1 + coalesce((SELECT max(number) FROM registry.books b WHERE b.provider = new.provider), 0),
           $1, $2, new.updated_at
    FROM unnest($3::text[], $4::timestamptz[]) AS new (provider, updated_at)
"""
INSERT_ENTRIES: Final = """
    INSERT INTO registry.entries (key, day, ordinal, entry)
    SELECT new.key, $1, $2, new.entry FROM unnest($3::text[], $4::bytea[]) AS new (key, entry)
"""


async def insert_changes(connection: Connection, filing: Filing) -> None:
    """Add what a version changed, under `lock_publishing`, with the next number for each provider in it."""
    await connection.execute(INSERT_CHANGES, *filing.key, filing.base, filing.changes)
    await connection.execute(
        INSERT_BOOKS, *filing.key, list(filing.books.keys()), list(filing.books.values())
    )
    await connection.execute(
        INSERT_ENTRIES, *filing.key, list(filing.entries.keys()), list(filing.entries.values())
    )


LIST_VERSIONS: Final = """
    SELECT version, generated_at, effective_from, digest, models
    FROM registry.versions
    WHERE $1::date IS NULL OR (day, ordinal) > ($1, $2::integer)
    ORDER BY day, ordinal
"""


async def list_versions(connection: Connection, after: VersionKey | None = None) -> list[VersionListing]:
    """The versions after a given one (versions commit in their order), or all of them, oldest first."""
    day, ordinal = after or (None, None)
    return [_listing(row) for row in await connection.fetch(LIST_VERSIONS, day, ordinal)]


LIST_BASES: Final = """
    SELECT v.version, c.base, c.day IS NOT NULL AS filed
    FROM registry.versions v LEFT JOIN registry.changes c USING (day, ordinal)
    WHERE $1::date IS NULL OR (day, ordinal) > ($1, $2::integer)
    ORDER BY day, ordinal
"""


async def list_bases(
    connection: Connection, after: VersionKey | None = None
) -> tuple[dict[str, str | None], list[str]]:
    """The base of each version after a given one, or of all, and the names of those not worked out yet."""
    day, ordinal = after or (None, None)
    rows = await connection.fetch(LIST_BASES, day, ordinal)
    bases = {row["version"]: row["base"] for row in rows if row["filed"]}
    return bases, [row["version"] for row in rows if not row["filed"]]


LIST_BOOKS: Final = """
    SELECT b.provider, b.number, v.version, b.updated_at
    FROM registry.books b JOIN registry.versions v USING (day, ordinal)
    WHERE $1::date IS NULL OR (day, ordinal) > ($1, $2::integer)
    ORDER BY day, ordinal, provider
"""


async def list_books(connection: Connection, after: VersionKey | None = None) -> list[Book]:
    """The books that the versions after a given one brought, or all of them, in the order of versions."""
    day, ordinal = after or (None, None)
    rows = await connection.fetch(LIST_BOOKS, day, ordinal)
    return [Book(row["provider"], row["number"], row["version"], row["updated_at"]) for row in rows]


LIST_ENTRIES: Final = """
    SELECT v.version, e.entry
    FROM registry.entries e JOIN registry.versions v USING (day, ordinal)
    WHERE e.key = $1
"""


async def list_entries(connection: Connection, key: str) -> dict[str, bytes | None]:
    """A model's entry in each version that changed it, by the version's name; None where it was removed."""
    return {row["version"]: row["entry"] for row in await connection.fetch(LIST_ENTRIES, key)}


LIST_CHANGES: Final = """
    SELECT version, base, changes
    FROM (
        SELECT v.day, v.ordinal, v.version, c.base, c.changes,
               sum(octet_length(c.changes)) OVER (ORDER BY v.day DESC, v.ordinal DESC)
                   - octet_length(c.changes) AS above_bytes
        FROM registry.versions v JOIN registry.changes c USING (day, ordinal)
        WHERE v.version = ANY($1::text[])
    ) AS listed
    WHERE above_bytes < $2
    ORDER BY day DESC, ordinal DESC
"""


async def list_changes(
    connection: Connection, versions: Sequence[str], max_bytes: int
) -> list[tuple[str, str | None, bytes]]:
    """Of these versions, newest first, as many as `max_bytes` hold, one at least: name, base, changes."""
    rows = await connection.fetch(LIST_CHANGES, list(versions), max_bytes)
    return [(row["version"], row["base"], row["changes"]) for row in rows]


FIND_BODY: Final = "SELECT body FROM registry.versions WHERE version = $1"


async def find_body(connection: Connection, version: str) -> bytes | None:
    """The bytes of a version, or None where there is no such version."""
    body: bytes | None = await connection.fetchval(FIND_BODY, version)
    return body


LIST_UNANNOUNCED: Final = """
    SELECT version, generated_at, effective_from, digest, models
    FROM registry.versions
    WHERE announced_at IS NULL
    ORDER BY day, ordinal
    FOR UPDATE SKIP LOCKED
"""


async def list_unannounced(connection: Connection) -> list[VersionListing]:
    """The versions that no event has told of, oldest first; not those another process is telling of now."""
    return [_listing(row) for row in await connection.fetch(LIST_UNANNOUNCED)]


MARK_ANNOUNCED: Final = "UPDATE registry.versions SET announced_at = $2 WHERE version = ANY($1::text[])"


async def mark_announced(connection: Connection, versions: Sequence[str], at: datetime) -> None:
    """Note that the event log holds the event of these versions."""
    await connection.execute(MARK_ANNOUNCED, list(versions), at)


def _listing(row: Row) -> VersionListing:
    return VersionListing(
        version=row["version"],
        generated_at=row["generated_at"],
        effective_from=row["effective_from"],
        digest=row["digest"],
        models=row["models"],
    )
