"""The versions that this process knows, and the snapshots it keeps at hand."""

import asyncio
from collections import OrderedDict
from datetime import datetime
from time import monotonic
from typing import NamedTuple

import msgspec

from services.registry.settings import RegistrySettings
from services.registry.snapshot import decode_snapshot
from services.registry.store import find_body, list_versions
from shared.contracts.registry import CAPABILITIES, VersionListing
from shared.errors import NotFoundError, UnavailableError
from shared.postgres import Database
from shared.pricing.versions import Timeline, parse_version


class Entry(NamedTuple):
    """A model of a snapshot: what one may filter by, and its own bytes."""

    key: str
    provider: str
    capabilities: frozenset[str]
    is_active: bool
    json: msgspec.Raw


class Volume(NamedTuple):
    """One version: its listing, its bytes as they are stored, and its entries."""

    listing: VersionListing
    body: bytes
    entries: tuple[Entry, ...]
    providers: dict[str, msgspec.Raw]


class _Parts(msgspec.Struct):
    models: dict[str, msgspec.Raw]
    providers: dict[str, msgspec.Raw]


class Library:
    """Reads versions from the database, each snapshot once.

    Versions never change, so only the list of them can be out of date: it is read again when it is older than
    `recheck_s`. While the database is away, what is known is served on.
    """

    def __init__(self, database: Database, settings: RegistrySettings) -> None:
        self._database = database
        self._recheck_s = settings.recheck_s
        self._capacity = settings.cached_versions
        self._listings: dict[str, VersionListing] = {}
        self._timeline: Timeline[VersionListing] = Timeline([])
        self._checked_at_s: float | None = None
        self._checking = asyncio.Lock()
        self._volumes: OrderedDict[str, Volume] = OrderedDict()

    async def list_versions(self) -> list[VersionListing]:
        """Every version, newest first.

        Raises:
            UnavailableError: the database is away, and nothing was ever read from it.
        """
        await self._recheck()
        return list(reversed(self._listings.values()))

    async def get_in_force(self, at: datetime) -> Volume:
        """The version in force at an instant.

        Raises:
            NotFoundError: nothing was ever published.
            UnavailableError: the database is away, and the version is not at hand.
        """
        await self._recheck()
        listing = self._timeline.find_in_force(at)
        if listing is None:
            raise NotFoundError("No registry version has been published yet.")
        return await self._get_volume(listing)

    async def get_version(self, version: str) -> Volume:
        """A version by its name.

        Raises:
            NotFoundError: there is no such version.
            UnavailableError: the database is away, and the version is not at hand.
        """
        listing = self._listings.get(version)
        if listing is None:
            await self._recheck()
            listing = self._listings.get(version)
        if listing is None:
            raise NotFoundError(f"There is no registry version {version}.")
        return await self._get_volume(listing)

    async def refresh(self) -> None:
        """Read the list of versions now.

        Raises:
            UnavailableError: the database is away.
        """
        async with self._checking:
            await self._read_list()

    async def _recheck(self) -> None:
        if self._is_fresh():
            return
        async with self._checking:
            if self._is_fresh():
                return
            try:
                await self._read_list()
            except UnavailableError:
                if self._checked_at_s is None:
                    raise
                self._checked_at_s = monotonic()  # ask again after the interval, not with every request

    def _is_fresh(self) -> bool:
        return self._checked_at_s is not None and monotonic() - self._checked_at_s < self._recheck_s

    async def _read_list(self) -> None:
        newest = next(reversed(self._listings), None)
        async with self._database.connection() as connection:
            added = await list_versions(connection, parse_version(newest) if newest else None)
        if added:
            self._listings |= {listing.version: listing for listing in added}
            self._timeline = Timeline(self._listings.values())
        self._checked_at_s = monotonic()

    async def _get_volume(self, listing: VersionListing) -> Volume:
        volume = self._volumes.get(listing.version)
        if volume is None:
            async with self._database.connection() as connection:
                body = await find_body(connection, listing.version)
            if body is None:
                raise NotFoundError(f"There is no registry version {listing.version}.")
            volume = open_volume(listing, body)
            self._volumes[listing.version] = volume
            if len(self._volumes) > self._capacity:
                self._volumes.popitem(last=False)
        self._volumes.move_to_end(listing.version)
        return volume


def open_volume(listing: VersionListing, body: bytes) -> Volume:
    """Take a stored snapshot apart for filtering; the bytes of each model stay as they are."""
    parts = msgspec.json.decode(body, type=_Parts)
    models = decode_snapshot(body).models
    return Volume(
        listing=listing,
        body=body,
        entries=tuple(
            Entry(
                key=key,
                provider=models[key].provider,
                capabilities=frozenset(
                    name for name, field in CAPABILITIES.items() if getattr(models[key], field)
                ),
                is_active=models[key].is_active,
                json=raw,
            )
            for key, raw in parts.models.items()
        ),
        providers=parts.providers,
    )
