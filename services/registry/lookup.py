"""Look up a version, whole or filtered, as the bytes to send and the tag that names them."""

import gzip
import hashlib
from collections import OrderedDict
from typing import Final, NamedTuple

import msgspec

from services.registry.library import Library, Volume
from services.registry.settings import RegistrySettings
from shared.clock import Clock, rfc3339
from shared.contracts.registry import CAPABILITIES, VersionListing
from shared.errors import InvalidFieldError
from shared.pricing.versions import parse_version

_GZIP_LEVEL: Final = 6
_WORTH_COMPRESSING_BYTES: Final = 1024
_encoder: Final = msgspec.json.Encoder()


class Filters(NamedTuple):
    """What to leave out, in one canonical form: order and doubles in the request make no difference."""

    providers: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] = ()
    active_only: bool = False


class Edition:
    """An answer: its bytes, its strong entity tag, and the same compressed."""

    def __init__(self, body: bytes, digest: str) -> None:
        self.body = body
        self.tag = digest
        self._compressed: bytes | None = None

    @property
    def compressed(self) -> bytes | None:
        """The bytes in gzip, made at the first use; None where that is not worth it."""
        if len(self.body) < _WORTH_COMPRESSING_BYTES:
            return None
        if self._compressed is None:
            self._compressed = gzip.compress(self.body, _GZIP_LEVEL, mtime=0)
        return self._compressed


class Lookup:
    """Answers what is asked of the registry, and keeps the answers."""

    def __init__(self, library: Library, clock: Clock, settings: RegistrySettings) -> None:
        self._library = library
        self._clock = clock
        self._capacity = settings.cached_answers
        self._editions: OrderedDict[tuple[str, Filters], Edition] = OrderedDict()

    async def get_edition(self, version: str | None, filters: Filters) -> Edition:
        """The version asked for, or the one in force now, without what the filters leave out.

        Raises:
            InvalidFieldError: `version` is not the name of a version.
            NotFoundError: there is no such version.
            UnavailableError: the database is away, and the version is not at hand.
        """
        if version is None:
            volume = await self._library.get_in_force(self._clock.now())
        else:
            volume = await self._library.get_version(check_version(version))
        name = (volume.listing.version, filters)
        edition = self._editions.get(name)
        if edition is None:
            edition = self._editions[name] = make_edition(volume, filters)
            if len(self._editions) > self._capacity:
                self._editions.popitem(last=False)
        self._editions.move_to_end(name)
        return edition

    async def list_versions(self) -> list[VersionListing]:
        """Every version, newest first."""
        return await self._library.list_versions()


def check_version(version: str) -> str:
    """Let the name of a version pass, whether or not there is one.

    Raises:
        InvalidFieldError: it is not the name of a version.
    """
    try:
        parse_version(version)
    except ValueError as error:
        raise InvalidFieldError.of("version", str(error)) from None
    return version


def read_filters(providers: str | None, capabilities: str | None, *, active: bool) -> Filters:
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


def _names(text: str | None) -> tuple[str, ...]:
    parts = (part.strip().lower() for part in (text or "").split(","))
    return tuple(sorted({part for part in parts if part}))


def make_edition(volume: Volume, filters: Filters) -> Edition:
    """Filter a version. Without filters it is the stored bytes themselves; each model keeps its bytes always.

    The tag derives from the stored content and the filters, so an answer with other filters has another tag.
    """
    if filters == Filters():
        return Edition(volume.body, volume.listing.digest[:32])
    wanted = frozenset(filters.capabilities)
    providers = None if filters.providers is None else frozenset(filters.providers)
    body = _encoder.encode(
        {
            "version": volume.listing.version,
            "generated_at": rfc3339(volume.listing.generated_at),
            "effective_from": rfc3339(volume.listing.effective_from),
            "models": {
                entry.key: entry.json
                for entry in volume.entries
                if (providers is None or entry.provider in providers)
                and wanted <= entry.capabilities
                and (entry.is_active or not filters.active_only)
            },
            "providers": {
                name: raw for name, raw in volume.providers.items() if providers is None or name in providers
            },
        }
    )
    digest = hashlib.sha256(volume.listing.digest.encode() + _encoder.encode(filters)).hexdigest()
    return Edition(body, digest[:32])
