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
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final, NamedTuple

from services.ingest.claim_cache import ClaimCache, Debts, key_of, settle_all
from services.ingest.presence import Presence
from services.ingest.store.claims import list_newest_claims
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.postgres import Database
from shared.stopping import is_set_within

RECALL: Final = timedelta(minutes=15)
"""Claims as old as this are copied. Who repeats a request does so within seconds or minutes."""
_LOOK_S: Final = 0.5
_LOOK_AGAIN_S: Final = 0.1
_OTHERS_NOTICE_S: Final = 2.0
"""Within so long of its return every process has noticed that Postgres is back."""
_SURE_WITHIN_S: Final = 2.0

_log = logging.getLogger(__name__)


class Backlog(NamedTuple):
    """What is in the event log, and not in the database yet.

    Attributes:
        load_ends: the next offset of each partition of `usage.logged`.
        is_rated: whether everything before some offsets is in the database now; asks it each time.
    """

    load_ends: Callable[[], Awaitable[Mapping[int, int]]]
    is_rated: Callable[[Mapping[int, int]], Awaitable[bool]]


class ClaimMemory:
    """The cache, and the care that it needs.

    Args:
        database: has the claims, for ever.
        presence: of that database.
        cache: has the newest ones.
        backlog: between the event log and the database.
        clock: the present instant.
    """

    def __init__(
        self, database: Database, presence: Presence, cache: ClaimCache, backlog: Backlog, clock: Clock
    ) -> None:
        self._database = database
        self._presence = presence
        self._cache = cache
        self._backlog = backlog
        self._clock = clock
        self._debts = Debts(cache)
        # Before this process began, others may have been without Postgres, or died in debt.
        self._sure = asyncio.Event()
        self._has_copied = False
        self._unsure_at = -float("inf")
        self._due: Mapping[int, int] | None = None
        self._token: bytes | None = None
        self._due_for_token: Mapping[int, int] = {}

    @property
    def is_sure(self) -> bool:
        """Whether Postgres knows whatever was accepted while it was away."""
        return self._sure.is_set()

    async def await_sure(self) -> None:
        """Wait a while for that.

        Raises:
            UnavailableError: it takes longer.
        """
        try:
            async with asyncio.timeout(_SURE_WITHIN_S):
                await self._sure.wait()
        except TimeoutError:
            raise UnavailableError("Records that were accepted before are not stored yet.") from None

    async def confirm(self, key: bytes, value: bytes) -> bytes:
        """What stands for a key that Postgres was asked about, though it may not know everything yet.

        Raises:
            UnavailableError: the cache is away, or may have forgotten something.
        """
        return await self._cache.settle_if_whole(key, value)

    async def note(self, key: bytes, value: bytes) -> bytes:
        """Settle what Postgres has said; where the cache is away, that stands, and is settled later."""
        try:
            return await self._cache.settle(key, value)
        except UnavailableError:
            self._debts.add(key, value)
            return value

    async def forget(self, key: bytes, value: bytes) -> None:
        """Let a value stand no more, if it is this one.

        Raises:
            UnavailableError: the cache is away.
        """
        self._debts.cancel(key, value)
        await self._cache.forget(key, value)

    async def decide(self, key: bytes, value: bytes) -> bytes:
        """The value that stands for a key, without Postgres.

        Raises:
            UnavailableError: the cache is away, or may have forgotten something.
        """
        await self._debts.pay()
        standing = await self._cache.settle_if_whole(key, value)
        self._doubt_postgres()
        return standing

    async def look(self) -> None:
        """See to it that each of the two knows what the other does, as far as they answer."""
        with contextlib.suppress(UnavailableError):
            await self._make_sure()
        with contextlib.suppress(UnavailableError):
            await self._debts.pay()
            await self._restore()

    async def run(self, stop: asyncio.Event) -> None:
        """Look after both of them again and again, until the event is set."""
        while not stop.is_set():
            await self.look()
            await is_set_within(stop, _LOOK_S if self.is_sure else _LOOK_AGAIN_S)
        with contextlib.suppress(UnavailableError):
            await self._debts.pay()

    def _doubt_postgres(self) -> None:
        self._sure.clear()
        self._unsure_at, self._due = time.monotonic(), None

    async def _make_sure(self) -> None:
        """Be sure of Postgres once the rater has come to where the log ended after it was away to anybody."""
        try:
            await self._presence.ask(self._database.ping)
        except UnavailableError:
            self._doubt_postgres()
            raise
        if self.is_sure or time.monotonic() < self._unsure_at + _OTHERS_NOTICE_S:
            return
        unsure_at = self._unsure_at
        due = self._due = self._due or await self._backlog.load_ends()
        if await self._backlog.is_rated(due) and self._unsure_at == unsure_at:
            self._sure.set()

    async def _restore(self) -> None:
        """Copy the newest claims where the cache lacks them, or where this process has not done so yet."""
        if not self.is_sure:
            return
        if self._token is None:
            self._token = await self._cache.memory.begin()
            if self._token is not None:
                self._due_for_token = await self._backlog.load_ends()
        if self._token is None:
            if not self._has_copied:
                self._told_of(await self._copy(), whole=True)
            return
        # A token that outlived a failure is still good: it holds as long as nothing more was lost.
        if await self._backlog.is_rated(self._due_for_token):
            count = await self._copy()
            whole = await self._cache.memory.end(self._token)
            self._token = None
            self._told_of(count, whole=whole)
        else:
            await self._cache.memory.renew(self._token)

    def _told_of(self, count: int, *, whole: bool) -> None:
        self._has_copied = True
        _log.info("%d idempotency keys were copied to the cache%s", count, "" if whole else ", in vain")

    async def _copy(self) -> int:
        count = 0
        async with self._database.transaction() as connection:
            async for page in list_newest_claims(connection, self._clock.now() - RECALL):
                if self._token is not None:
                    await self._cache.memory.renew(self._token)
                await settle_all(
                    self._cache,
                    [
                        (key_of(account_id, log_id), digest + event)
                        for account_id, log_id, digest, event in page
                    ],
                )
                count += len(page)
        return count
