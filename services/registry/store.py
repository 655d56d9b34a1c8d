"""The versions in Postgres. Rows are only ever added; see `migrations/0001_versions.sql`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

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
