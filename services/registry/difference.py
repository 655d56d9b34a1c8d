"""Everything that differs between any two versions, whichever is the newer."""

import asyncio
import hashlib
from typing import Final

import msgspec

from services.registry.changes import list_changes, list_provider_changes
from services.registry.edition import Edition, EditionCache
from services.registry.library import Library
from shared.clock import Clock
from shared.contracts.registry import Model, Provider

_WORTH_A_THREAD_BYTES: Final = 256 * 1024
_encoder: Final = msgspec.json.Encoder()
_model_decoder: Final = msgspec.json.Decoder(Model)
_provider_decoder: Final = msgspec.json.Decoder(Provider)


class _Parts(msgspec.Struct):
    models: dict[str, msgspec.Raw]
    providers: dict[str, msgspec.Raw]


_parts_decoder: Final = msgspec.json.Decoder(_Parts)


class Comparison:
    """Compares versions."""

    def __init__(self, library: Library, clock: Clock, cache: EditionCache) -> None:
        self._library = library
        self._clock = clock
        self._cache = cache
        self._one_at_a_time = asyncio.Lock()

    async def get_difference(self, old: str, new: str | None) -> Edition:
        """What makes the version `new` (the one in force now if None) out of the version `old`.

        Raises:
            NotFoundError: one of them is not there.
            UnavailableError: the database is away, and a version is not at hand.
        """
        before = await self._library.get_version(old)
        if new is None:
            after = await self._library.get_in_force(self._clock.now())
        else:
            after = await self._library.get_version(new)
        listed = before.listing, after.listing
        tag = hashlib.sha256(f"diff {listed[0].digest} {listed[1].digest}".encode()).hexdigest()[:32]
        async with self._one_at_a_time:  # none is cheap, and anybody may ask
            edition = self._cache.find(tag)
            if edition is None:
                bodies = before.edition.body, after.edition.body
                names = listed[0].version, listed[1].version
                if sum(map(len, bodies)) < _WORTH_A_THREAD_BYTES:
                    body = compare(*names, *bodies)
                else:
                    body = await asyncio.to_thread(compare, *names, *bodies)
                edition = self._cache.keep(tag, Edition(body, tag))
        return edition


def compare(old: str, new: str, old_body: bytes, new_body: bytes) -> bytes:
    """The difference of two stored versions, given by name and bytes, as JSON."""
    before, after = _parts_decoder.decode(old_body), _parts_decoder.decode(new_body)
    # Entries keep their bytes from version to version: where those are equal there is nothing to decode.
    models = _differing(before.models, after.models)
    providers = _differing(before.providers, after.providers)
    return _encoder.encode(
        {
            "from": old,
            "to": new,
            "changes": list_changes(
                {key: _model_decoder.decode(raw) for key, raw in models[0].items()},
                {key: _model_decoder.decode(raw) for key, raw in models[1].items()},
                whole=True,
            ),
            "provider_changes": list_provider_changes(
                {key: _provider_decoder.decode(raw) for key, raw in providers[0].items()},
                {key: _provider_decoder.decode(raw) for key, raw in providers[1].items()},
            ),
        }
    )


def _differing(
    before: dict[str, msgspec.Raw], after: dict[str, msgspec.Raw]
) -> tuple[dict[str, msgspec.Raw], dict[str, msgspec.Raw]]:
    """Both sides without the entries that have the same bytes on both."""
    return (
        {key: raw for key, raw in before.items() if after.get(key) != raw},
        {key: raw for key, raw in after.items() if before.get(key) != raw},
    )
