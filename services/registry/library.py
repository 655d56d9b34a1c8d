"""The versions that this process knows, and the snapshots it keeps at hand."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from time import monotonic
from typing import Any, Final, NamedTuple

import msgspec

from services.registry.edition import Edition
from services.registry.filing import ensure_filed
from services.registry.lineage import Lineage
from services.registry.settings import RegistrySettings
from services.registry.store import find_body, list_bases, list_books, list_versions
from shared.contracts.registry import CAPABILITIES, VersionListing
from shared.errors import NotFoundError, UnavailableError
from shared.postgres import Database
from shared.pricing.names import NameIndex
from shared.pricing.versions import Timeline, parse_version


class Entry(NamedTuple):
    """A model of a snapshot: what one may filter by, and its own bytes."""

    key: str
    provider: str
    capabilities: int
    is_active: bool
    json: msgspec.Raw


class Contents(NamedTuple):
    """The entries of a snapshot, and the bytes of its providers'."""

    entries: dict[str, Entry]
    providers: dict[str, msgspec.Raw]


class Volume:
    """One version: its listing, its bytes as they are stored, and its contents once they are asked for."""

    def __init__(self, listing: VersionListing, body: bytes) -> None:
        self.listing = listing
        self.edition = Edition(body, listing.digest[:32], lasting=True)

    @cached_property
    def contents(self) -> Contents:
        """The snapshot taken apart for filtering; the bytes of each model stay as they are."""
        parts = _raw_decoder.decode(self.edition.body)
        facts = self._facts
        entries = [
            Entry(key, known.provider, _mask_of(known), known.is_active, parts.models[key])
            for key, known in facts.items()
        ]
        return Contents({entry.key: entry for entry in entries}, parts.providers)

    @cached_property
    def names(self) -> NameIndex:
        """Finds the models by what they are called."""
        return NameIndex(self._facts)

    @cached_property
    def _facts(self) -> Any:  # noqa: ANN401 - structs made below, which have the fields asked for
        return _facts_decoder.decode(self.edition.body).models


class _Parts(msgspec.Struct):
    models: dict[str, msgspec.Raw]
    providers: dict[str, msgspec.Raw]


_Facts: Any = msgspec.defstruct(
    "_Facts",
    [
        ("provider", str),
        ("model_name", str),
        ("model_aliases", list[str]),
        ("is_active", bool),
        *((field, bool | None, None) for field in dict.fromkeys(CAPABILITIES.values())),
    ],
)
"""Of a model only what one may find it by: the whole of it takes several times as long to decode."""


class _FactsOfAll(msgspec.Struct):
    models: dict[str, _Facts]


_raw_decoder: Final = msgspec.json.Decoder(_Parts)
_facts_decoder: Final = msgspec.json.Decoder(_FactsOfAll)
_BITS: Final = {name: (1 << place, field) for place, (name, field) in enumerate(CAPABILITIES.items())}


def mask_of_names(capabilities: Iterable[str]) -> int:
    """Capabilities by name as the bits of an entry."""
    return sum(_BITS[name][0] for name in capabilities)


def _mask_of(facts: Any) -> int:  # noqa: ANN401 - a struct made above
    return sum(bit for bit, field in _BITS.values() if getattr(facts, field))


class Library:
    """Reads versions from the database, each snapshot once.

    Versions never change, so only the list of them can be out of date: it is read again when it is older than
    `recheck_s`. While the database is away, what is known is served on.
    """

    def __init__(self, database: Database, settings: RegistrySettings) -> None:
        self.lineage = Lineage()
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
        return await self._get_volume(await self.get_listing(version))

    async def get_listing(self, version: str) -> VersionListing:
        """The listing of a version by its name.

        Raises:
            NotFoundError: there is no such version.
            UnavailableError: the database is away, and nothing was ever read from it.
        """
        listing = self._listings.get(version)
        if listing is None:
            await self._recheck()
            listing = self._listings.get(version)
        if listing is None:
            raise NotFoundError(f"There is no registry version {version}.")
        return listing

    async def list_starts(self) -> list[tuple[datetime, VersionListing]]:
        """The instants at which another version comes into force, the future ones included, in order.

        Raises:
            UnavailableError: the database is away, and nothing was ever read from it.
        """
        await self._recheck()
        starts: list[tuple[datetime, VersionListing]] = []
        for at in sorted({listing.effective_from for listing in self._listings.values()}):
            listing = self._timeline.find_in_force(at)
            if listing is not None and (not starts or starts[-1][1] is not listing):
                starts.append((at, listing))
        return starts

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
        after = parse_version(newest) if newest else None
        async with self._database.connection() as connection:
            added = await list_versions(connection, after)
            _, missing = await list_bases(connection, after) if added else ({}, [])
        if missing:
            await ensure_filed(self._database)
        if added:
            async with self._database.connection() as connection:
                books = await list_books(connection, after)
                bases, _ = await list_bases(connection, after)
            # More versions may have come between the queries: they are for the next time.
            names = {listing.version for listing in added}
            self.lineage.add(
                {version: base for version, base in bases.items() if version in names},
                [book for book in books if book.version in names],
            )
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
            volume = Volume(listing, body)
            self._volumes[listing.version] = volume
            if len(self._volumes) > self._capacity:
                self._volumes.popitem(last=False)
        self._volumes.move_to_end(listing.version)
        return volume
