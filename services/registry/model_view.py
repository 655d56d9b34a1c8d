"""One model: what it is in a version, and what it cost over time."""

import hashlib
from typing import Any, Final

import msgspec

from services.registry.changes import PRICING
from services.registry.edition import Edition, EditionCache
from services.registry.library import Library
from services.registry.store import list_entries
from services.registry.volume import Contents
from shared.clock import Clock, rfc3339
from shared.errors import NotFoundError
from shared.postgres import Database
from shared.pricing.names import fold_provider

_SHOWN: Final = PRICING | {"service_tiers", "long_context_steps", "long_context_threshold_tokens"}
_encoder: Final = msgspec.json.Encoder()
_entry_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ModelView:
    """Answers about single models."""

    def __init__(self, library: Library, database: Database, clock: Clock, cache: EditionCache) -> None:
        self._library = library
        self._database = database
        self._clock = clock
        self._cache = cache

    async def get_model(self, provider: str, model: str, version: str | None) -> Edition:
        """A model by the names that a record may carry, as they are resolved when a record is priced.

        Args:
            provider: without regard to case.
            model: its name, an alias, or one of them behind `provider:` or `provider/`.
            version: None is the version in force now.

        Raises:
            NotFoundError: there is no such version, or no such model in it.
            UnavailableError: the database is away.
        """
        if version is None:
            volume = await self._library.get_in_force(self._clock.now())
        else:
            volume = await self._library.get_version(version)
        contents = await volume.get_contents()
        key = contents.names.find_key(provider, model)
        if key is None:
            raise await self._unknown(provider, model, volume.listing.version, contents)
        asked = f"{fold_provider(provider)}:{model}"
        newest = (await self._library.list_versions())[0]
        parts = [volume.listing.digest, newest.digest, key, asked]
        tag = hashlib.sha256(_encoder.encode(parts)).hexdigest()[:32]
        edition = self._cache.find(tag)
        if edition is None:
            entry = contents.entries[key].json
            body = _encoder.encode(
                {
                    "version": volume.listing.version,
                    "key": key,
                    "resolved_from": None if asked == key else asked,
                    "aliases": _entry_decoder.decode(entry)["model_aliases"],
                    "model": entry,
                    "price_history": await self._list_prices(key),
                }
            )
            edition = self._cache.keep(tag, Edition(body, tag))
        return edition

    async def _list_prices(self, key: str) -> list[dict[str, Any]]:
        """Newest first, one for each time in which nothing changed."""
        async with self._database.connection() as connection:
            entries = await list_entries(connection, key)
        starts = await self._library.list_starts()
        history: list[dict[str, Any]] = []
        before: dict[str, msgspec.Raw] | None = None
        for at, listing in starts:
            origin = self._library.lineage.find_origin(listing.version, entries)
            entry = None if origin is None else entries[origin]
            prices = None if entry is None else _prices_of(entry)
            if prices == before:
                continue
            if history and before is not None:
                history[-1]["effective_to"] = rfc3339(at)
            if prices is not None:
                history.append(
                    {
                        "version": listing.version,
                        "effective_from": rfc3339(at),
                        "effective_to": None,
                        "prices": prices,
                    }
                )
            before = prices
        return history[::-1]

    async def _unknown(self, provider: str, model: str, version: str, contents: Contents) -> NotFoundError:
        provider = fold_provider(provider)
        if provider not in contents.providers:
            known = ", ".join(sorted(contents.providers))
            sentence = f"Version {version} has no provider {provider}; it has {known}."
        else:
            sentence = f"Version {version} has no model of {provider} that is called {model}."
        entries: dict[str, bytes | None] = {}
        if model.isprintable():  # as every name is; Postgres refuses NUL
            async with self._database.connection() as connection:
                entries = await list_entries(connection, f"{provider}:{model}")
        if entries:
            lineage = self._library.lineage
            for _, listing in reversed(await self._library.list_starts()):
                origin = lineage.find_origin(listing.version, entries)
                if origin is not None and entries[origin] is not None:
                    return NotFoundError(f"{sentence} Version {listing.version} has one.")
        return NotFoundError(
            f"{sentence} Names are matched exactly: a name, an alias, or either after the provider."
        )


def _prices_of(entry: bytes) -> dict[str, msgspec.Raw]:
    return {name: raw for name, raw in _entry_decoder.decode(entry).items() if name in _SHOWN}
