"""What each version changed, read as it was worked out when the version was published."""

import hashlib
from typing import Final

import msgspec

from services.registry.edition import Edition, EditionCache
from services.registry.library import Library
from services.registry.store import list_changes
from shared.clock import rfc3339
from shared.contracts.registry import VersionListing
from shared.errors import NotFoundError
from shared.postgres import Database

MAX_PAGE: Final = 100
DEFAULT_PAGE: Final = 20
MAX_PAGE_BYTES: Final = 4 * 1024 * 1024
"""A page ends before it, after one version at least: one publish may change tens of thousands of fields."""

_encoder: Final = msgspec.json.Encoder()


class _Stored(msgspec.Struct):
    changes: msgspec.Raw
    provider_changes: msgspec.Raw


class Changelog:
    """Answers what changed from version to version."""

    def __init__(self, library: Library, database: Database, cache: EditionCache) -> None:
        self._library = library
        self._database = database
        self._cache = cache

    async def get_page(self, since: str | None, before: str | None, limit: int) -> Edition:
        """Versions with their changes, newest first.

        Args:
            since: only those after this version.
            before: only those before this version.
            limit: at most so many.

        Raises:
            NotFoundError: `since` or `before` is not a version.
            UnavailableError: the database is away.
        """
        listings = await self._library.list_versions()
        start = 0 if before is None else 1 + _place_of(before, listings)
        end = len(listings) if since is None else _place_of(since, listings)
        wanted = listings[start : max(start, min(end, start + limit))]
        more = end > start + limit
        # What a version changed never changes itself, so the tag is known before anything is read.
        tag = _tag_of(["page", more, *(each.digest for each in wanted)])
        edition = self._cache.find(tag)
        if edition is None:
            body = await self._write_page(wanted, listings[start + limit - 1].version if more else None)
            edition = self._cache.keep(tag, Edition(body, tag))
        return edition

    async def get_changes(self, version: str) -> Edition:
        """What one version changed.

        Raises:
            NotFoundError: there is no such version.
            UnavailableError: the database is away.
        """
        listing = await self._library.get_listing(version)
        tag = _tag_of(["one", listing.digest])
        edition = self._cache.find(tag)
        if edition is None:
            [shown] = await self._read([listing])
            edition = self._cache.keep(tag, Edition(_encoder.encode(shown), tag))
        return edition

    async def _write_page(self, wanted: list[VersionListing], following: str | None) -> bytes:
        shown = await self._read(wanted)
        if len(shown) < len(wanted):
            following = wanted[len(shown) - 1].version
        return _encoder.encode({"versions": shown, "next": following})

    async def _read(self, wanted: list[VersionListing]) -> list[dict[str, object]]:
        if not wanted:
            return []
        async with self._database.connection() as connection:
            rows = await list_changes(connection, [each.version for each in wanted], MAX_PAGE_BYTES)
        # The newest first, and maybe not all of them.
        shown: list[dict[str, object]] = []
        for listing, (version, base, changes) in zip(wanted, rows, strict=False):
            stored = msgspec.json.decode(changes, type=_Stored)
            shown.append(
                {
                    "version": version,
                    "generated_at": rfc3339(listing.generated_at),
                    "effective_from": rfc3339(listing.effective_from),
                    "base": base,
                    "changes": stored.changes,
                    "provider_changes": stored.provider_changes,
                }
            )
        return shown


def _place_of(version: str, listings: list[VersionListing]) -> int:
    for place, listing in enumerate(listings):
        if listing.version == version:
            return place
    raise NotFoundError(f"There is no registry version {version}.")


def _tag_of(parts: list[object]) -> str:
    return hashlib.sha256(_encoder.encode(parts)).hexdigest()[:32]
