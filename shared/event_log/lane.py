"""A lane: one store in flight, and whoever comes meanwhile rides in the next.

Under load the cost of a round trip (and of an fsync) is shared by all who arrived during the one before;
without load a caller waits for one round trip and nothing else. An append costs one future and no task. Its
wait has an end, whatever the store does, and nobody suffers from another caller that went away or was at
fault.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from datetime import timedelta
from time import perf_counter
from typing import Final, Generic, TypeVar

from shared.errors import TooLargeError, UnavailableError
from shared.event_log.port import MAX_RECORD_BYTES, Headers, Position, Record
from shared.telemetry.metrics import APPEND_FAILURES, APPEND_RECORDS, APPEND_SECONDS

logger = logging.getLogger(__name__)

MAX_BATCH_RECORDS: Final = 500
"""Of usage, which come to half a megabyte. Beyond that the buffer of the driver of Postgres grows dearly."""
MAX_BATCH_BYTES: Final = 4_000_000
MAX_WAITING_BYTES: Final = 64_000_000
"""What may wait in a lane before further callers are turned away."""

_SWEEP_SECONDS: Final = 0.1
_RETRY_SECONDS: Final = 0.1

TargetT = TypeVar("TargetT")


def measure(records: Sequence[Record]) -> int:
    """How many bytes the records have together.

    Raises:
        TooLargeError: one of them has more than `MAX_RECORD_BYTES`.
    """
    total = beside = 0
    last_headers: Headers = ()
    for key, value, headers in records:
        if headers is not last_headers:  # the records of a request share them
            last_headers = headers
            beside = sum(len(name) + len(content) for name, content in headers)
        size = len(key) + len(value) + beside
        if size > MAX_RECORD_BYTES:
            raise TooLargeError(f"The record has {size} bytes; {MAX_RECORD_BYTES} are allowed.")
        total += size
    return total


class Append(Generic[TargetT]):
    """One caller's records, where they go, and the promise to tell their positions."""

    __slots__ = ("answer", "deadline", "records", "size", "target")

    def __init__(
        self,
        target: TargetT,
        records: Sequence[Record],
        size: int,
        deadline: float,
        answer: asyncio.Future[list[Position]],
    ) -> None:
        self.target = target
        self.records = records
        self.size = size
        self.deadline = deadline
        self.answer = answer

    def resolve(self, positions: list[Position]) -> None:
        """Tell the caller, unless it went away; its records are stored all the same."""
        if not self.answer.done():
            self.answer.set_result(positions)

    def fail(self, error: Exception) -> None:
        """Tell the caller that it did not work."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Lane(Generic[TargetT]):
    """Appends in order of arrival, stored batch by batch."""

    def __init__(
        self,
        name: str,
        store: Callable[[list[Append[TargetT]]], Awaitable[None]],
        probe: Callable[[], Awaitable[None]],
        timeout: timedelta,
    ) -> None:
        """Prepare a lane.

        Args:
            name: for the log.
            store: stores a batch and resolves its appends; raises `UnavailableError` if that may work later.
            probe: after a failure, tells whether the store can be reached again, by raising or not.
            timeout: how long a caller waits.
        """
        self._name = name
        self._store = store
        self._probe = probe
        self._seconds = timeout.total_seconds()
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Append[TargetT]] = deque()
        self._waiting_bytes = 0
        self._in_flight: Sequence[Append[TargetT]] = ()
        self._arrived = asyncio.Event()
        self._sweep: asyncio.TimerHandle | None = None
        self._failing_since: float | None = None
        self._closing = False
        # In a context of its own: it outlives the request that made it, and its log lines are not about that.
        self._task = asyncio.create_task(self._run(), name=f"lane-{name}", context=Context())

    def put(self, target: TargetT, records: Sequence[Record], size: int) -> "asyncio.Future[list[Position]]":
        """Queue records of `size` bytes; the future tells where they went, or fails in time.

        Raises:
            UnavailableError: the lane is closed, or the store has been away for so long, or is so slow, that
                waiting makes no sense.
        """
        now = self._loop.time()
        if self._closing:
            raise UnavailableError("The event log is closing.")
        if self._failing_since is not None and now - self._failing_since > self._seconds:
            raise UnavailableError("The event log is not available at the moment.")
        if self._waiting_bytes + size > MAX_WAITING_BYTES:
            raise UnavailableError("The event log cannot keep up at the moment.")
        answer: asyncio.Future[list[Position]] = self._loop.create_future()
        self._waiting.append(Append(target, records, size, now + self._seconds, answer))
        self._waiting_bytes += size
        self._arrived.set()
        if self._sweep is None:
            self._sweep = self._loop.call_later(_SWEEP_SECONDS, self._expire)
        return answer

    async def close(self) -> None:
        """Store what was accepted, as far as the callers' time allows."""
        self._closing = True
        self._arrived.set()
        # By then every caller has its answer; what may still hang is an attempt to reach the store.
        await asyncio.wait([self._task], timeout=self._seconds + 2 * _SWEEP_SECONDS)
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._sweep is not None:
            self._sweep.cancel()

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            if self._failing_since is not None:
                await self._recover()
            elif self._waiting:
                await self._store_batch(self._take_batch())
            else:
                self._arrived.clear()
                await self._arrived.wait()

    def _take_batch(self) -> list[Append[TargetT]]:
        """The next appends, at least one, in order of arrival."""
        taken: list[Append[TargetT]] = []
        records = size = 0
        waiting = self._waiting
        while waiting:
            append = waiting[0]
            records += len(append.records)
            size += append.size
            if taken and (records > MAX_BATCH_RECORDS or size > MAX_BATCH_BYTES):
                break
            waiting.popleft()
            self._waiting_bytes -= append.size
            taken.append(append)
        return taken

    async def _store_batch(self, appends: list[Append[TargetT]]) -> None:
        self._in_flight = appends
        started = perf_counter()
        try:
            await self._store(appends)
            APPEND_SECONDS.observe(perf_counter() - started)
            APPEND_RECORDS.observe(sum([len(append.records) for append in appends]))
        except UnavailableError as error:
            APPEND_FAILURES.inc()
            self._note_failure(error)
            # It may have been stored or not. Storing it again is the safe side: consumers know a record that
            # they have seen, and its caller gets an answer instead of a riddle.
            for append in reversed(appends):
                if not append.answer.done():
                    self._waiting.appendleft(append)
                    self._waiting_bytes += append.size
        except Exception as error:
            if len(appends) == 1:
                appends[0].fail(error)
            else:  # one of them is at fault: the others must not pay for it
                for append in appends:
                    await self._store_batch([append])
        finally:
            self._in_flight = ()

    async def _recover(self) -> None:
        await asyncio.sleep(_RETRY_SECONDS)
        try:
            await self._probe()
        except UnavailableError as error:
            logger.debug("%s: still away: %r", self._name, error.__cause__ or error)
        else:
            logger.info("%s: the store can be reached again", self._name)
            self._failing_since = None

    def _note_failure(self, error: UnavailableError) -> None:
        logger.warning("%s: cannot store for now: %r", self._name, error.__cause__ or error)
        if self._failing_since is None:
            self._failing_since = self._loop.time()

    def _expire(self) -> None:
        """Tell the callers whose time is over; what was not sent yet will not be."""
        self._sweep = None
        now = self._loop.time()
        while self._waiting and self._waiting[0].deadline <= now:
            append = self._waiting.popleft()
            self._waiting_bytes -= append.size
            append.fail(UnavailableError("The event log could not store the record in time."))
        for append in self._in_flight:
            if append.deadline <= now:
                append.fail(UnavailableError("The event log did not confirm the record in time."))
        if self._waiting or self._in_flight:
            self._sweep = self._loop.call_later(_SWEEP_SECONDS, self._expire)
