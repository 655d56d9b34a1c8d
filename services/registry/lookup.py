"""Look up a version, whole or filtered, as the bytes to send and the tag that names them."""

import hashlib
from typing import Final, NamedTuple

import msgspec

from services.registry.edition import Edition, EditionCache
from services.registry.library import Library, Volume, mask_of_names
from shared.clock import Clock, rfc3339
from shared.contracts.registry import CAPABILITIES, VersionList
from shared.errors import InvalidFieldError
from shared.pricing.versions import parse_version

_encoder: Final = msgspec.json.Encoder()


class Filters(NamedTuple):
    """What to leave out, in one canonical form: order and doubles in the request make no difference."""

    providers: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] = ()
    active_only: bool = False


class Lookup:
    """Answers what is asked of the registry, and keeps the answers."""

    def __init__(self, library: Library, clock: Clock, cache: EditionCache) -> None:
        self._library = library
        self._clock = clock
        self._cache = cache

    async def get_edition(self, version: str | None, filters: Filters) -> Edition:
        """The version asked for, or the one in force now, without what the filters leave out.

        Raises:
            NotFoundError: there is no such version.
            UnavailableError: the database is away, and the version is not at hand.
        """
        if version is None:
            volume = await self._library.get_in_force(self._clock.now())
        else:
            volume = await self._library.get_version(version)
        if filters == Filters():
            return volume.edition
        filters = _known_only(filters, volume)
        name = (volume.listing.version, filters)
        edition = self._cache.find(name)
        return edition if edition is not None else self._cache.keep(name, make_edition(volume, filters))

    async def list_versions(self) -> Edition:
        """Every version, newest first."""
        listings = await self._library.list_versions()
        name = ("versions", listings[0].digest if listings else "")
        edition = self._cache.find(name)
        if edition is None:
            body = _encoder.encode(VersionList(listings))
            tag = hashlib.sha256(body).hexdigest()[:32]
            edition = self._cache.keep(name, Edition(body, tag))
        return edition


def check_version(version: str, field: str = "version") -> str:
    """Let the name of a version pass, whether or not there is one.

    Raises:
        InvalidFieldError: it is not the name of a version; `field` is what it is called in the request.
    """
    try:
        parse_version(version)
    except ValueError as error:
        raise InvalidFieldError.of(field, str(error)) from None
    return version


def read_filters(providers: str, capabilities: str, *, active: bool) -> Filters:
    """The filters of a query: comma-separated names, without regard to case and blanks around them.

    Raises:
        InvalidFieldError: a capability is not known; the sentence names those that are.
    """
    wanted = _names(capabilities)
    unknown = [name for name in wanted if name not in CAPABILITIES]
    if unknown:
        known = ", ".join(sorted(CAPABILITIES))
        raise InvalidFieldError.of("capabilities", f"does not know {', '.join(unknown)}; known are {known}")
    names = _names(providers)
    return Filters(providers=names or None, capabilities=wanted, active_only=active)


def _names(text: str) -> tuple[str, ...]:
    parts = (part.strip().lower() for part in text.split(","))
    return tuple(sorted({part for part in parts if part}))


def make_edition(volume: Volume, filters: Filters) -> Edition:
    """Filter a version; each model keeps its bytes.

    The tag derives from the stored content and the filters, so an answer with other filters has another tag.
    """
    wanted = mask_of_names(filters.capabilities)
    providers = None if filters.providers is None else frozenset(filters.providers)
    contents = volume.contents
    body = _encoder.encode(
        {
            "version": volume.listing.version,
            "generated_at": rfc3339(volume.listing.generated_at),
            "effective_from": rfc3339(volume.listing.effective_from),
            "models": {
                entry.key: entry.json
                for entry in contents.entries.values()
                if (providers is None or entry.provider in providers)
                and entry.capabilities & wanted == wanted
                and (entry.is_active or not filters.active_only)
            },
            "providers": {
                name: raw
                for name, raw in contents.providers.items()
                if providers is None or name in providers
            },
        }
    )
    digest = hashlib.sha256(volume.listing.digest.encode() + _encoder.encode(filters)).hexdigest()
    return Edition(body, digest[:32])


def _known_only(filters: Filters, volume: Volume) -> Filters:
    """The filters without providers that there are not: those make no difference, and no end of answers."""
    if filters.providers is None:
        return filters
    known = volume.contents.providers
    return filters._replace(providers=tuple(name for name in filters.providers if name in known))
