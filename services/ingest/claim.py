"""Idempotency keys: the same key and body are one record with one answer, for ever.

A key is claimed in Postgres before its record is appended, together with the event that will be answered.
Whoever comes later with the key gets that event: appended once more unless its row is already stored, since
the one who claimed it may have died in between (the rater counts a log id once, so this is safe).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.ingest.store.claims import Claim, StoredClaim, insert_claims
from shared.coalescer import Coalescer
from shared.errors import ConflictError
from shared.postgres import Database


class KeyedRecord(NamedTuple):
    """A checked record that came with an idempotency key."""

    account_id: UUID
    log_id: UUID
    digest: bytes
    event: bytes
    received_at: datetime


class Settled(NamedTuple):
    """What a key stands for.

    Attributes:
        digest: of the body that it stands for.
        event: the event to answer with: this request's own, or that of the one that came first.
        replayed: an earlier request had claimed the key.
        stored: its row is in the usage store, so it need not be appended.
    """

    digest: bytes
    event: bytes
    replayed: bool
    stored: bool


class _InFlight(NamedTuple):
    digest: bytes
    done: asyncio.Event


class Claims:
    """Decides who records a key, among all requests of all processes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._in_flight: dict[tuple[UUID, UUID], _InFlight] = {}
        self._coalescer: Coalescer[Claim, StoredClaim] = Coalescer(self._flush)

    @asynccontextmanager
    async def hold(
        self, records: Sequence[KeyedRecord]
    ) -> AsyncIterator[dict[UUID, Settled | ConflictError]]:
        """Hold keys while their records are being appended; other requests with them wait, or are refused.

        Gives what came of each by its log id: what the key stands for, which may be another body, or
        `ConflictError` where a request with the key and another body is in flight. The log ids must differ
        from one another.

        Raises:
            UnavailableError: the database is away.
        """
        outcomes: dict[UUID, Settled | ConflictError] = {}
        held: list[KeyedRecord] = []
        try:
            # In one order, so that two batches cannot wait for each other.
            for record in sorted(records, key=lambda each: each.log_id):
                if await self._enter(record):
                    held.append(record)
                else:
                    outcomes[record.log_id] = ConflictError(
                        "A request with this Idempotency-Key and another body is in flight."
                    )
            settled = await asyncio.gather(*map(self._settle, held))
            outcomes.update(zip((record.log_id for record in held), settled, strict=True))
            yield outcomes
        finally:
            for record in held:
                self._in_flight.pop((record.account_id, record.log_id)).done.set()

    async def _enter(self, record: KeyedRecord) -> bool:
        name = (record.account_id, record.log_id)
        while (other := self._in_flight.get(name)) is not None:
            if other.digest != record.digest:
                return False
            await other.done.wait()
        self._in_flight[name] = _InFlight(record.digest, asyncio.Event())
        return True

    async def _settle(self, record: KeyedRecord) -> Settled:
        claim = Claim(record.account_id, record.log_id, record.digest, record.event, record.received_at)
        stored = await self._coalescer.submit(claim)
        return Settled(stored.digest, stored.event, replayed=not stored.fresh, stored=stored.rated)

    async def _flush(self, claims: Sequence[Claim]) -> Sequence[StoredClaim]:
        async with self._database.connection() as connection:
            return await insert_claims(connection, claims)
