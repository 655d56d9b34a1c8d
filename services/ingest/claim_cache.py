"""What a cache of idempotency keys has to offer, and what it could not be told while it was away."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Final, Protocol
from uuid import UUID

_MAX_OWED: Final = 10_000
_AT_ONCE: Final = 100


class Contents(Protocol):
    """Whether a cache holds what it was given; `shared.redis.Memory` tells."""

    async def begin(self) -> bytes | None:
        """Start to restore what is missing; None where nothing is, or somebody else is at it."""
        ...

    async def renew(self, token: bytes) -> None:
        """It still goes on."""
        ...

    async def end(self, token: bytes) -> bool:
        """Everything is there; false if it was lost again since the token was given."""
        ...

    async def doubt(self) -> None:
        """Something is missing."""
        ...


class ClaimCache(Protocol):
    """Where the first value settled for a key stands, for all who share it; `shared.redis.Firsts` is one.

    Each method raises `UnavailableError` while it is away, at once while it stays away.
    """

    @property
    def memory(self) -> Contents:
        """Whether it holds what was settled."""
        ...

    async def settle(self, key: bytes, value: bytes) -> bytes:
        """The value that stands for a key: this one, or an earlier one."""
        ...

    async def settle_if_whole(self, key: bytes, value: bytes) -> bytes:
        """The same; `UnavailableError` also where something may have been forgotten."""
        ...

    async def forget(self, key: bytes, value: bytes) -> None:
        """Let a value stand no more, if it is this one."""
        ...


class Debts:
    """What the cache could not be told when it was claimed. It is told before it decides anything alone.

    Args:
        cache: is owed it.
    """

    def __init__(self, cache: ClaimCache) -> None:
        self._cache = cache
        self._owed: dict[bytes, bytes] = {}
        self._too_many = False
        self._paying = asyncio.Lock()

    def add(self, key: bytes, value: bytes) -> None:
        """Owe it one more; beyond a number that fits in memory, its contents are called broken instead."""
        if len(self._owed) < _MAX_OWED:
            self._owed[key] = value
        else:
            self._too_many = True

    def cancel(self, key: bytes, value: bytes) -> None:
        """Owe it that value no more."""
        if self._owed.get(key) == value:
            del self._owed[key]

    async def pay(self) -> None:
        """Tell it everything.

        Raises:
            UnavailableError: the cache is away; what was not told is owed on.
        """
        if not self._owed and not self._too_many:
            return
        async with self._paying:
            if self._too_many:
                await self._cache.memory.doubt()
                self._too_many = False
            while self._owed:
                owed = list(itertools.islice(self._owed.items(), _AT_ONCE))
                await self._cache.settle(*owed[0])  # alone, so that a cache that is away is asked once
                await settle_all(self._cache, owed[1:])
                for key, _ in owed:
                    self._owed.pop(key, None)


async def settle_all(cache: ClaimCache, values: Sequence[tuple[bytes, bytes]]) -> None:
    """Settle many keys in few round trips.

    Raises:
        UnavailableError: the cache is away.
    """
    await asyncio.gather(*(cache.settle(key, value) for key, value in values))


def key_of(account_id: UUID, log_id: UUID) -> bytes:
    """The key of a claim in the cache."""
    return account_id.bytes + log_id.bytes
