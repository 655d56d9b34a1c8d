"""Which version was built on which, and what follows from it for providers and models."""

from collections.abc import Container, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple


class Book(NamedTuple):
    """One version of one provider's models.

    Attributes:
        number: the provider's own, from 1.
        version: the registry version that brought it.
        updated_at: when the provider's models were published.
    """

    provider: str
    number: int
    version: str
    updated_at: datetime


class Lineage:
    """What is known of all versions so far; grows as they are published."""

    def __init__(self) -> None:
        self._bases: dict[str, str | None] = {}
        self._brought: dict[tuple[str, str], Book] = {}
        self._books: dict[str, list[Book]] = {}

    def add(self, bases: Mapping[str, str | None], books: Iterable[Book]) -> None:
        """Add versions with their bases, and the books that they brought, both in order."""
        self._bases |= bases
        for book in books:
            self._brought[book.version, book.provider] = book
            self._books.setdefault(book.provider, []).append(book)

    def find_origin(self, version: str, among: Container[str]) -> str | None:
        """The version itself, or the nearest of those that it was built on, which is one of these."""
        found: str | None = version
        while found is not None and found not in among:
            found = self._bases[found]
        return found

    def find_book(self, version: str, provider: str) -> Book | None:
        """The book of a provider that a version holds; None where it never had models."""
        found: str | None = version
        while found is not None and (found, provider) not in self._brought:
            found = self._bases[found]
        return None if found is None else self._brought[found, provider]

    def list_books(self, provider: str) -> list[Book]:
        """Every book of a provider, in order of their numbers."""
        return self._books.get(provider, [])
