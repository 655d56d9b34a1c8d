"""What idempotency keys stand for, in a cache that decides alone while Postgres is away.

It may do so only while it can have forgotten nothing that Postgres knew a short while ago. So each process
- brings to the cache, as soon as it can, what it could not be told when it was claimed;
- copies the newest claims from Postgres whenever the cache has lost its contents, or is new.
Until that is done the cache refuses to decide alone.

And what it decided alone Postgres learns only from the rater. So for a while after Postgres was away its word
is not enough either: the cache has to confirm it, or the rater must have come to the end of the log.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final, Protocol
from uuid import UUID

from services.ingest.presence import Presence
from services.ingest.store.claims import list_newest_claims
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.postgres import Database

RECALL: Final = timedelta(minutes=15)
"""Claims as old as this are copied. Who repeats a request does so within seconds or minutes."""
_LOOK_S: Final = 0.5
_OTHERS_NOTICE_S: Final = 2.0
"""Within so long of its return every process has noticed that Postgres is back."""
_RATED_WITHIN: Final = timedelta(seconds=2)
_MAX_OWED: Final = 10_000

_log = logging.getLogger(__name__)


class Contents(Protocol):
    """Whether a cache holds what it was given; `shared.redis.Memory` tells."""

    async def begin(self) -> bytes | None:
        """Start to restore what is missing; None where nothing is, or somebody else is at it."""
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


class ClaimMemory:
    """The cache, and the care that it needs.

    Args:
        database: has the claims, for ever.
        presence: of that database.
        cache: has the newest ones.
        await_rated: waits, for at most so long, until everything that is in the log by now is rated; false
            where it is not.
        clock: the present instant.
    """

    def __init__(
        self,
        database: Database,
        presence: Presence,
        cache: ClaimCache,
        await_rated: Callable[[timedelta], Awaitable[bool]],
        clock: Clock,
    ) -> None:
        self._database = database
        self._presence = presence
        self._cache = cache
        self._clock = clock
        self._owed: dict[bytes, bytes] = {}
        self._owes_too_much = False
        self._token: bytes | None = None
        self._await_rated = await_rated
        self._is_sure = False
        self._unsure_at = -float("inf")

    @property
    def is_sure(self) -> bool:
        """Whether Postgres knows whatever was accepted while it was away."""
        return self._is_sure

    async def confirm(self, key: bytes, value: bytes) -> bytes:
        """What stands for a key that Postgres was asked about, though it may not know everything yet.

        Raises:
            UnavailableError: the cache is away, or may have forgotten something.
        """
        return await self._cache.settle_if_whole(key, value)

    async def catch_up(self) -> None:
        """Wait until Postgres knows what was accepted by now.

        Raises:
            UnavailableError: that takes too long, or something is away.
        """
        began = time.monotonic()
        rated = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * _RATED_WITHIN.total_seconds()):  # the log may not answer either
                rated = await self._await_rated(_RATED_WITHIN)
        if not rated:
            raise UnavailableError("Records that were accepted before are not stored yet.")
        self._is_sure = self._is_sure or began > self._unsure_at + _OTHERS_NOTICE_S

    async def note(self, key: bytes, value: bytes) -> bytes:
        """Settle what Postgres has said; where the cache is away, that stands, and is settled later."""
        try:
            return await self._cache.settle(key, value)
        except UnavailableError:
            if len(self._owed) < _MAX_OWED:
                self._owed[key] = value
            else:
                self._owes_too_much = True
            return value

    async def decide(self, key: bytes, value: bytes) -> bytes:
        """The value that stands for a key, without Postgres.

        Raises:
            UnavailableError: the cache is away, or may have forgotten something.
        """
        if self._owed or self._owes_too_much:
            await self._pay()
        standing = await self._cache.settle_if_whole(key, value)
        self._doubt_postgres()
        return standing

    async def look(self) -> None:
        """See to it that each of the two knows what the other does, as far as they answer."""
        await self._look_at_postgres()
        with contextlib.suppress(UnavailableError):
            await self._pay()
            if self._is_sure:
                self._token = self._token or await self._cache.memory.begin()
            if self._token is None or not self._is_sure:
                return
            # A token that outlived a failure is still good: it holds as long as nothing more was lost.
            await self.catch_up()
            count = await self._copy()
            whole = await self._cache.memory.end(self._token)
            self._token = None
            _log.info("%d idempotency keys were copied to the cache%s", count, "" if whole else ", in vain")

    async def run(self, stop: asyncio.Event) -> None:
        """Look after both of them again and again, until the event is set."""
        while not stop.is_set():
            await self.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await stop.wait()

    async def _look_at_postgres(self) -> None:
        try:
            await self._presence.ask(self._database.ping)
        except UnavailableError:
            self._doubt_postgres()
        else:
            if not self._is_sure:
                with contextlib.suppress(UnavailableError):
                    await self.catch_up()

    def _doubt_postgres(self) -> None:
        self._is_sure, self._unsure_at = False, time.monotonic()

    async def _pay(self) -> None:
        if self._owes_too_much:
            await self._cache.memory.doubt()
            self._owes_too_much = False
        while self._owed:
            owed = list(self._owed.items())
            await self._settle_all(owed)
            for key, _ in owed:
                self._owed.pop(key, None)

    async def _copy(self) -> int:
        count = 0
        async with self._database.transaction() as connection:
            async for page in list_newest_claims(connection, self._clock.now() - RECALL):
                await self._settle_all(
                    [
                        (key_of(account_id, log_id), digest + event)
                        for account_id, log_id, digest, event in page
                    ]
                )
                count += len(page)
        return count

    async def _settle_all(self, values: Sequence[tuple[bytes, bytes]]) -> None:
        await asyncio.gather(*(self._cache.settle(key, value) for key, value in values))


def key_of(account_id: UUID, log_id: UUID) -> bytes:
    """The key of a claim in the cache."""
    return account_id.bytes + log_id.bytes
