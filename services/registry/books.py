"""One provider's models by the provider's own numbers, in the form of the public registry's files.

The published client asks for these. What llmring 1.4.0 needs (`registry.py: RegistryClient`): the current
file's `models` as an object by key, the numbered file's as a list, and no `api_endpoint` but the four that it
knows: one other makes it refuse a numbered file as a whole, and skip a current model.
"""

import hashlib
import re
from typing import Final

import msgspec

from services.registry.edition import Edition, EditionCache
from services.registry.library import Library
from services.registry.lineage import Book
from shared.clock import Clock
from shared.errors import InvalidFieldError, NotFoundError
from shared.pricing.names import fold_provider

_NUMBER: Final = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_ENDPOINTS: Final = frozenset(("chat", "responses", "assistants", "generateContent"))
_encoder: Final = msgspec.json.Encoder()
_entry_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Books:
    """Answers with the models of one provider."""

    def __init__(self, library: Library, clock: Clock, cache: EditionCache) -> None:
        self._library = library
        self._clock = clock
        self._cache = cache

    async def get_current(self, provider: str) -> Edition:
        """A provider's models in the version in force now.

        Raises:
            NotFoundError: the provider never had any.
            UnavailableError: the database is away, and the version is not at hand.
        """
        provider = fold_provider(provider)
        volume = await self._library.get_in_force(self._clock.now())
        book = self._library.lineage.find_book(volume.listing.version, provider)
        if book is None:
            known = ", ".join(sorted(volume.contents.providers))
            raise NotFoundError(f"There is no provider {provider}; known are {known}.")
        return await self._open(book, numbered=False)

    async def get_numbered(self, provider: str, number: str) -> Edition:
        """A provider's models as the publish of that number left them, for ever the same bytes.

        Raises:
            InvalidFieldError: it is no number.
            NotFoundError: there is no such publish.
            UnavailableError: the database is away, and the version is not at hand.
        """
        if not _NUMBER.fullmatch(number):
            raise InvalidFieldError.of("number", "must be a whole number from 1")
        provider = fold_provider(provider)
        await self._library.list_versions()
        books = self._library.lineage.list_books(provider)
        if int(number) > len(books):
            newest = f"the newest version of {provider} is {len(books)}" if books else "it has none"
            raise NotFoundError(f"There is no version {number} of the provider {provider}: {newest}.")
        return await self._open(books[int(number) - 1], numbered=True)

    async def _open(self, book: Book, *, numbered: bool) -> Edition:
        name = (book.provider, book.number, numbered)
        edition = self._cache.find(name)
        if edition is None:
            volume = await self._library.get_version(book.version)
            models = {
                entry.key: _readable(entry.json)
                for entry in volume.contents.entries.values()
                if entry.provider == book.provider
            }
            body = _encoder.encode(
                {
                    "provider": book.provider,
                    "version": book.number,
                    # Not with a Z: the client also runs on Python 3.10, whose fromisoformat takes none.
                    "updated_at": book.updated_at.isoformat(),
                    "models": list(models.values()) if numbered else models,
                }
            )
            tag = hashlib.sha256(body).hexdigest()[:32]
            edition = self._cache.keep(name, Edition(body, tag))
        return edition


def _readable(entry: msgspec.Raw) -> msgspec.Raw:
    fields = _entry_decoder.decode(entry) if b'"api_endpoint"' in bytes(entry) else {}
    if "api_endpoint" not in fields or msgspec.json.decode(fields["api_endpoint"]) in _ENDPOINTS:
        return entry
    del fields["api_endpoint"]
    return msgspec.Raw(_encoder.encode(fields))
