"""Sorted entries that come in batches, taken key by key."""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Stream(Generic[T]):
    """Entries in the order of their keys. Call `open` before anything else.

    Attributes:
        key: that of the next entry; None at the end.
    """

    def __init__(self, batches: AsyncIterator[list[T]], key_of: Callable[[T], bytes]) -> None:
        self._batches = batches
        self._key_of = key_of
        self._batch: list[T] = []
        self._place = 0
        self.key: bytes | None = None

    async def open(self) -> "Stream[T]":
        """Read the first entries."""
        await self._look()
        return self

    async def take(self, key: bytes) -> list[T]:
        """The entries of a key, if it is the next one's."""
        taken: list[T] = []
        while self.key == key:
            taken.append(self._batch[self._place])
            self._place += 1
            await self._look()
        return taken

    async def _look(self) -> None:
        while self._place >= len(self._batch):
            batch = await anext(self._batches, None)
            if batch is None:
                self.key = None
                return
            self._batch, self._place = batch, 0
        self.key = self._key_of(self._batch[self._place])


async def as_batches(batches: Iterable[list[T]]) -> AsyncIterator[list[T]]:
    """Batches that are there already, as a stream takes them."""
    for batch in batches:
        yield batch
