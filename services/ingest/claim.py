"""Idempotency keys: the same key and body are one record with one answer, for ever.

A key is claimed in Postgres before its record is appended, together with the event that will be answered.
Whoever comes later with the key gets that event: appended once more unless its row is already stored, since
the one who claimed it may have died in between (the rater counts a log id once, so this is safe).

Where a cache is given, the claim is settled there too, and what the cache holds stands unless the row is
stored: somebody may have accepted the key while Postgres was away to them. So as long as all who accept can
reach the cache, they agree, whoever of them can reach Postgres. The faults one by one are in
docs/adr/0010-idempotency-without-postgres.md.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from services.ingest.claim_cache import key_of
from services.ingest.claim_memory import ClaimMemory
from services.ingest.presence import Presence
from services.ingest.store.claims import Claim, Settled, delete_claims, insert_claims
from shared.coalescer import Coalescer
from shared.contracts.usage import BODY_DIGEST_BYTES
from shared.errors import ConflictError, UnavailableError
from shared.postgres import Database

_CLAIM_WITHIN: Final = timedelta(milliseconds=500)
_LARGE: Final = 64
"""So many records make a statement of their own; fewer ride with those of other requests."""
_LEAVE_ALONE_S: Final = 1.0
"""After a claim that failed, Postgres is not asked for so long."""

_log = logging.getLogger(__name__)


class _InFlight:
    """A key that is held; `done` is there once somebody waits for it."""

    __slots__ = ("digest", "done")

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.done: asyncio.Event | None = None

    def end(self) -> None:
        if self.done is not None:
            self.done.set()


class Claims:
    """Decides who records a key, among all requests of all processes.

    Args:
        database: holds the claims, for ever.
        presence: of that database.
        memory: holds the newest ones as well, and decides while the database is away. None: nothing is
            accepted then. That is right where the event log lives in the same database.
    """

    def __init__(self, database: Database, presence: Presence, memory: ClaimMemory | None = None) -> None:
        self._database = database
        self._presence = presence
        self._memory = memory
        self._leave_alone_until = 0.0
        self._in_flight: dict[int, _InFlight] = {}  # by log id, which names the account as well
        self._coalescer: Coalescer[Claim, Settled] = Coalescer(self._flush)
        self._patient: Coalescer[Claim, Settled] = Coalescer(self._flush_with_patience)

    @asynccontextmanager
    async def hold(self, claims: Sequence[Claim]) -> AsyncIterator[Sequence[Settled | ConflictError]]:
        """Hold keys while their records are being appended; other requests with them wait, or are refused.

        Gives what came of each, in their order: what the key stands for, which may be another body, or
        `ConflictError` where a request with the key and another body is in flight. The log ids must differ
        from one another.

        Raises:
            UnavailableError: the database is away, and the cache cannot tell, or there is none.
        """
        held: list[Claim] = []
        try:
            # In one order, so that two batches cannot wait for each other.
            for claim in sorted(claims, key=_order):
                number = claim.log_id.int
                if number not in self._in_flight or await self._is_free(claim):
                    self._in_flight[number] = _InFlight(claim.digest)
                    held.append(claim)
            if len(held) == len(claims):
                yield await self._settle_all(claims)
            else:
                settled = dict(zip(held, await self._settle_all(held), strict=True))
                yield [settled.get(claim) or _conflict() for claim in claims]
        finally:
            for claim in held:
                self._in_flight.pop(claim.log_id.int).end()

    async def release(self, claims: Sequence[Claim]) -> None:
        """Free keys that are held and were claimed just now: their records were not accepted after all.

        As far as it can be done now: what stays claimed costs room, and its retry the time of this try.
        """
        try:
            await self._presence.ask(lambda: self._delete(claims))
            if self._memory is not None:
                await asyncio.gather(*(self._memory.forget(*_in_cache(each)) for each in claims))
        except UnavailableError as error:
            _log.warning("%d keys of refused records stay claimed: %s", len(claims), error)

    async def _is_free(self, claim: Claim) -> bool:
        """Wait for others that hold the key; False where one of them does so for another body."""
        while (other := self._in_flight.get(claim.log_id.int)) is not None:
            if other.digest != claim.digest:
                return False
            other.done = other.done or asyncio.Event()
            await other.done.wait()
        return True

    async def _settle_all(self, claims: Sequence[Claim]) -> Sequence[Settled]:
        if self._memory is not None or len(claims) < _LARGE:
            return await asyncio.gather(*map(self._settle, claims))
        return await self._flush(claims)

    async def _settle(self, claim: Claim) -> Settled:
        if self._memory is None:
            return await self._coalescer.submit(claim)
        key, value = _in_cache(claim)
        try:
            found = await self._coalescer.submit(claim)
        except UnavailableError:
            try:
                standing = await self._memory.decide(key, value)
            except UnavailableError:
                found = await self._settle_with_patience(claim)
            else:
                return _standing(standing, replayed=standing != value)
        if found.stored:
            return found  # what the row says stands, and the rater has made the claim say the same
        value = found.digest + found.event
        if self._memory.is_sure:
            standing = await self._memory.note(key, value)
        else:
            try:
                standing = await self._memory.confirm(key, value)
            except UnavailableError:
                found = await self._settle_once_sure(self._memory, claim, found)
                if found.stored:
                    return found
                value = found.digest + found.event
                standing = await self._memory.note(key, value)
        return found if standing == value else _standing(standing)

    async def _settle_once_sure(self, memory: ClaimMemory, claim: Claim, found: Settled) -> Settled:
        """What Postgres says of a key again, once it knows what was accepted without it."""
        await memory.await_sure()
        again = await self._coalescer.submit(claim)
        return again._replace(replayed=found.replayed or again.event != found.event)

    async def _settle_with_patience(self, claim: Claim) -> Settled:
        """What Postgres says where nobody can decide in its stead: one that is only slow is waited for."""
        found = await self._patient.submit(claim)
        # The question that nobody waited for may have claimed the key all the same; the event tells. Where
        # none is kept that stays open, and a claim that may be an earlier one must not be released as ours.
        is_own = bool(claim.event) and found.event == claim.event
        return found._replace(replayed=found.replayed and not is_own)

    async def _flush_with_patience(self, claims: Sequence[Claim]) -> Sequence[Settled]:
        return await self._presence.ask(lambda: self._insert(claims))

    async def _flush(self, claims: Sequence[Claim]) -> Sequence[Settled]:
        if self._memory is None:
            return await self._flush_with_patience(claims)
        if time.monotonic() < self._leave_alone_until:
            raise UnavailableError("The database is not available at the moment.")
        try:
            return await self._presence.ask_within(lambda: self._insert(claims), _CLAIM_WITHIN)
        except UnavailableError:
            # Here and not where it is caught: those who have queued up meanwhile must not wait as well.
            self._leave_alone_until = time.monotonic() + _LEAVE_ALONE_S
            raise

    async def _delete(self, claims: Sequence[Claim]) -> None:
        async with self._database.connection() as connection:
            await delete_claims(connection, claims)

    async def _insert(self, claims: Sequence[Claim]) -> Sequence[Settled]:
        async with self._database.connection() as connection:
            return await insert_claims(connection, claims)


def _in_cache(claim: Claim) -> tuple[bytes, bytes]:
    """The key and the value of a claim in the cache."""
    return key_of(claim.account_id, claim.log_id), claim.digest + claim.event


def _order(claim: Claim) -> int:
    return claim.log_id.int


def _conflict() -> ConflictError:
    return ConflictError("A request with this Idempotency-Key and another body is in flight.")


def _standing(standing: bytes, *, replayed: bool = True) -> Settled:
    """What a value of the cache says."""
    digest, event = standing[:BODY_DIGEST_BYTES], standing[BODY_DIGEST_BYTES:]
    return Settled(digest, event, replayed=replayed, stored=False)
