"""Monthly quotas: of the records that an account sends in a month (UTC, by arrival), so many are let pass.

A counter that all processes share counts before a record is appended, in one step, so nothing that happens at
once gets past it. What it counts is what was let pass; what is stored is counted by the rater, for ever. When
nobody has said yet how many records a month has, as after its first or after the counter lost its contents,
the stored ones are asked for, once everything that is in the event log is stored.

While that cannot be told, each process counts for itself, from what it knew last or from what is stored, and
has the common count begun anew as soon as it can. How much may get past the limit then is written down in
docs/adr/0018-quotas.md.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from services.ingest.claim_memory import Backlog
from services.ingest.month import end_of, month_of
from services.ingest.presence import Presence
from services.ingest.quota_counter import Bucket, Item, MemoryCounter, QuotaCounter
from services.ingest.store.months import count_month
from shared.clock import Clock, rfc3339
from shared.errors import LLMRingError, QuotaExceededError, UnavailableError
from shared.postgres import Database

_BEGIN_WITHIN_S: Final = 60.0
_LOOK_S: Final = 0.02
_PAUSE_S: Final = 1.0
_TRIES: Final = 3
_ASK_WITHIN: Final = timedelta(milliseconds=300)
_MAX_SEEN: Final = 100_000

_log = logging.getLogger(__name__)


class Charge(NamedTuple):
    """What came of records that are about to be appended.

    Attributes:
        bucket: what they were counted in.
        passed: for each whether it may be appended.
        alone: this process counted by itself.
    """

    bucket: Bucket
    passed: list[bool]
    alone: bool


class Quotas:
    """Lets records pass, or not. Accounts without a quota do not come here.

    Args:
        counter: counts for all processes.
        database: has the stored ones.
        presence: of that database.
        backlog: between the event log and the database.
        clock: tells the month.
        wait: so long a record waits for the count to be begun; then this process counts for itself.
    """

    def __init__(
        self,
        *,
        counter: QuotaCounter,
        database: Database,
        presence: Presence,
        backlog: Backlog,
        clock: Clock,
        wait: timedelta,
    ) -> None:
        self._counter = counter
        self._database = database
        self._presence = presence
        self._backlog = backlog
        self._clock = clock
        self._wait_s = wait.total_seconds()
        self._spare = MemoryCounter()
        self._uncounted: dict[Bucket, int] = {}
        self._seen: dict[Bucket, int] = {}
        self._begins: dict[Bucket, asyncio.Task[None]] = {}
        self._patience: dict[Bucket, float] = {}
        self._leave_alone_until = 0.0
        self._month = date.min

    async def charge(self, account_id: UUID, limit: int, items: Sequence[Item]) -> Charge:
        """Count records of this month that are about to be appended, as far as the limit lets them pass.

        It does not fail: what is known decides where not everything is.
        """
        bucket = self._bucket(account_id)
        try:
            return Charge(bucket, await self._take(bucket, limit, items), alone=False)
        except UnavailableError:
            return Charge(bucket, await self._take_alone(bucket, limit, items), alone=True)

    async def give_back(self, charge: Charge, items: Sequence[Item]) -> None:
        """Records that were let pass were not acknowledged: their caller is told so, and is not charged."""
        if charge.alone:
            await self._spare.give_back(charge.bucket, items)
            return
        try:
            await self._counter.give_back(charge.bucket, items)
        except UnavailableError as error:
            _log.warning("%d records stay counted in %s: %s", len(items), charge.bucket, error)

    async def used(self, account_id: UUID, limit: int | None) -> int:
        """How many records of this month are counted; where there is no quota, how many are stored.

        Raises:
            UnavailableError: the database is away and no count is known.
        """
        bucket = self._bucket(account_id)
        if limit is not None:
            try:
                await self._take(bucket, limit, ())
                return self._seen[bucket]
            except UnavailableError:
                pass
        return await self._presence.ask(lambda: self._stored(bucket))

    def refusal(self, limit: int) -> QuotaExceededError:
        """What is told of a record that did not pass."""
        now = self._clock.now()
        resets_at = end_of(month_of(now))
        return QuotaExceededError(
            f"The monthly quota of {limit} records is used up. It starts anew at {rfc3339(resets_at)}.",
            retry_after=resets_at - now,
            resets_at=resets_at,
        )

    def _bucket(self, account_id: UUID) -> Bucket:
        month = month_of(self._clock.now())
        if month > self._month:  # nobody asks for the old ones again
            self._month = month
            self._seen.clear()
            self._uncounted.clear()
        return Bucket(account_id, month)

    async def _take(self, bucket: Bucket, limit: int, items: Sequence[Item]) -> list[bool]:
        if bucket in self._uncounted:
            await self._begin_anew(bucket)
        taken = await self._counter.take(bucket, limit, items)
        if taken is None:
            await self._begin(bucket)
            taken = await self._counter.take(bucket, limit, items)
            if taken is None:  # lost again, or a counter that cannot tell what it has lost
                self._leave_alone_until = time.monotonic() + _PAUSE_S
                raise UnavailableError("The count of the month cannot be begun.")
        if len(self._seen) >= _MAX_SEEN:
            self._seen.clear()
        self._seen[bucket] = taken.used
        return taken.passed

    async def _take_alone(self, bucket: Bucket, limit: int, items: Sequence[Item]) -> list[bool]:
        taken = await self._spare.take(bucket, limit, items)
        if taken is None:
            await self._spare.begin(bucket, await self._guess(bucket))
            taken = await self._spare.take(bucket, limit, items)
        if taken is None:  # another month has begun since
            return [True] * len(items)
        self._uncounted[bucket] = self._uncounted.get(bucket, 0) + sum(taken.passed)
        return taken.passed

    async def _guess(self, bucket: Bucket) -> int:
        """The best that this process can say of a count by itself."""
        try:
            stored = await self._presence.ask_within(lambda: self._stored(bucket), _ASK_WITHIN)
        except UnavailableError:
            stored = 0
        return max(stored, self._seen.get(bucket, 0))

    async def _begin_anew(self, bucket: Bucket) -> None:
        """Have the count begun by somebody who knows what this process let pass without it."""
        if bucket not in self._begins and time.monotonic() >= self._leave_alone_until:
            await self._counter.forget(bucket)
        await self._begin(bucket)

    async def _begin(self, bucket: Bucket) -> None:
        """Wait a moment for the count to be begun, by one at a time.

        Raises:
            UnavailableError: it takes longer; it goes on.
        """
        task = self._begins.get(bucket)
        now = time.monotonic()
        if task is None:
            if now < self._leave_alone_until:
                raise UnavailableError("The count of the month cannot be begun at the moment.")
            task = asyncio.create_task(self._run_begin(bucket), name="ingest.quota")
            self._begins[bucket] = task
            self._patience[bucket] = now + self._wait_s
            task.add_done_callback(self._ended(bucket))
        await asyncio.wait([task], timeout=max(0.0, self._patience[bucket] - now))
        if not task.done():
            raise UnavailableError("The count of the month is being begun.")
        try:
            task.result()
        except (LLMRingError, TimeoutError) as error:
            raise UnavailableError("The count of the month cannot be begun at the moment.") from error

    def _ended(self, bucket: Bucket) -> "Callable[[asyncio.Task[None]], None]":
        def forget(task: "asyncio.Task[None]") -> None:
            del self._begins[bucket], self._patience[bucket]
            if task.cancelled() or task.exception() is not None:
                self._leave_alone_until = time.monotonic() + _PAUSE_S

        return forget

    async def _run_begin(self, bucket: Bucket) -> None:
        async with asyncio.timeout(_BEGIN_WITHIN_S):
            for attempt in range(1, _TRIES + 1):
                self._uncounted.pop(bucket, None)
                ends = await self._backlog.load_ends()
                while not await self._backlog.is_rated(ends):
                    await asyncio.sleep(_LOOK_S)
                    if await self._counter.take(bucket, 0, ()) is not None:
                        await self._spare.forget(bucket)
                        return  # another process was first
                used = await self._presence.ask(lambda: self._stored(bucket))
                # What this process has let pass meanwhile may be in `used` or not.
                alone = self._uncounted.get(bucket, 0)
                if not alone or attempt == _TRIES:
                    await self._counter.begin(bucket, used + alone)
                    self._uncounted.pop(bucket, None)
                    await self._spare.forget(bucket)
                    return

    async def _stored(self, bucket: Bucket) -> int:
        async with self._database.connection() as connection:
            return await count_month(connection, *bucket)
