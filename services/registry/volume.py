"""One version in memory: its bytes as they are stored, and what one may find its models by."""

import asyncio
from collections.abc import Iterable
from functools import cached_property
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from services.registry.edition import Edition
from shared.contracts.registry import CAPABILITIES, VersionListing
from shared.pricing.names import NameIndex

_WORTH_A_THREAD_BYTES: Final = 256 * 1024


class Entry(NamedTuple):
    """A model of a snapshot: what one may filter by, and its own bytes."""

    key: str
    provider: str
    capabilities: int
    is_active: bool
    json: msgspec.Raw


class Contents:
    """A snapshot taken apart; the bytes of each model stay as they are.

    Attributes:
        entries: by key.
        providers: the bytes of each provider's entry, by name.
    """

    def __init__(self, body: bytes) -> None:
        parts = _parts_decoder.decode(body)
        self.providers = parts.providers
        # One by one: a thread lets the event loop go on only between two of them.
        self._facts = {key: _facts_decoder.decode(raw) for key, raw in parts.models.items()}
        self.entries = {
            key: Entry(key, facts.provider, _mask_of(facts), facts.is_active, parts.models[key])
            for key, facts in self._facts.items()
        }

    @cached_property
    def names(self) -> NameIndex:
        """Finds the models by what they are called."""
        return NameIndex(self._facts)


class Volume:
    """One version: its listing, its bytes, and its contents once they are asked for."""

    def __init__(self, listing: VersionListing, body: bytes) -> None:
        self.listing = listing
        self.edition = Edition(body, listing.digest[:32], lasting=True)
        self._contents: Contents | None = None
        self._opening = asyncio.Lock()

    async def get_contents(self) -> Contents:
        """The snapshot taken apart, at the first time; beside the event loop if that takes long."""
        async with self._opening:
            if self._contents is None:
                body = self.edition.body
                if len(body) < _WORTH_A_THREAD_BYTES:
                    self._contents = Contents(body)
                else:
                    self._contents = await asyncio.to_thread(Contents, body)
            return self._contents


class _Parts(msgspec.Struct):
    models: dict[str, msgspec.Raw]
    providers: dict[str, msgspec.Raw]


_FIELDS: Final = tuple(dict.fromkeys(CAPABILITIES.values()))
_Facts: Any = msgspec.defstruct(
    "_Facts",
    [
        ("provider", str),
        ("model_name", str),
        ("model_aliases", list[str]),
        ("is_active", bool),
        *((field, bool | None, None) for field in _FIELDS),
    ],
)
"""Of a model only what one may find it by: the whole of it takes several times as long to decode."""

_parts_decoder: Final = msgspec.json.Decoder(_Parts)
_facts_decoder: Final[Any] = msgspec.json.Decoder(_Facts)
_flags_of: Final = attrgetter(*_FIELDS)
_BITS: Final = {name: 1 << _FIELDS.index(field) for name, field in CAPABILITIES.items()}


def mask_of_names(capabilities: Iterable[str]) -> int:
    """Capabilities by name as the bits of an entry."""
    return sum(_BITS[name] for name in capabilities)


def _mask_of(facts: Any) -> int:  # noqa: ANN401 - a struct made above
    return sum(1 << place for place, flag in enumerate(_flags_of(facts)) if flag)
