"""The loop of every consumer: read, apply, and never skip.

What keeps a record from being lost or counted twice:
- the position moves in the transaction that stores the results (`PostgresPositions.advance`), so a crash
  leaves either both or neither;
- a failure rewinds the partition to that position, so nothing behind the failed record is applied before it;
- two members that believe to own the same partition meet at the position, and the second is fenced.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic, perf_counter
from typing import Final, Protocol

from shared.errors import UnavailableError
from shared.event_log.lag import Lag
from shared.event_log.port import EventLog, FencedError, Positions, Slice, StalledError, Subscription
from shared.event_log.traces import SliceSpans
from shared.stopping import is_set_within
from shared.telemetry.metrics import APPLY_SECONDS, CONSUMER_RETRIES, DEAD_LETTERS, SLICE_RECORDS

logger = logging.getLogger(__name__)

Apply = Callable[[Slice], Awaitable[None]]


class Pace(Protocol):
    """Pauses a consumer that shares its process with other work."""

    async def rest(self, records: int) -> None:
        """Pause, for less than a second, after so many records were applied."""
        ...


READ_WAIT: Final = timedelta(seconds=0.25)
"""How long a read waits for records; also how soon an idle consumer notices that it has to stop."""

LEAVE_AFTER_S: Final = 30.0
"""A member that has read nothing but errors for so long joins the group anew."""

_PAUSES: Final = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds after the first failure in a row, the second, and so on; at the end, the last one again."""


async def run_consumer(
    log: EventLog,
    group: str,
    topic: str,
    positions: Positions,
    apply: Apply,
    *,
    stop: asyncio.Event,
    max_records: int,
    pace: Pace | None = None,
) -> None:
    """Apply a topic's records, slice by slice, until `stop` is set and the slice in hand is done.

    Args:
        log: where the records are.
        group: the members of one group share the partitions.
        topic: the topic to consume.
        positions: where the group stands.
        apply: stores the results of a slice and moves the position, in one transaction. Whatever it raises,
            the slice comes again: at once after `FencedError`, after a pause otherwise. A record that can
            never be applied is its own business (see `dead_letter`).
        stop: set it to end.
        max_records: the most records in a slice.
        pace: pauses after what was applied; None never does.
    """
    consumer = _Consumer(log, group, topic, positions, apply, stop=stop, max_records=max_records, pace=pace)
    lag = asyncio.create_task(Lag(log, group, topic, positions).run(), name=f"lag-{group}")
    try:
        await consumer.run()
    finally:
        lag.cancel()
        await asyncio.wait([lag])


class _Consumer:
    """One run of the loop."""

    def __init__(
        self,
        log: EventLog,
        group: str,
        topic: str,
        positions: Positions,
        apply: Apply,
        *,
        stop: asyncio.Event,
        max_records: int,
        pace: Pace | None,
    ) -> None:
        self._log = log
        self._group = group
        self._topic = topic
        self._positions = positions
        self._apply = apply
        self._stop = stop
        self._max_records = max_records
        self._pace = pace
        self._pause = _Pause(stop)
        self._apply_seconds = APPLY_SECONDS.labels(group)
        self._slice_records = SLICE_RECORDS.labels(group)
        self._retries = {
            reason: CONSUMER_RETRIES.labels(group, reason) for reason in ("read", "apply", "fenced")
        }
        DEAD_LETTERS.labels(topic)  # told from the start, as 0: what is not there cannot be seen to rise

    async def run(self) -> None:
        while not self._stop.is_set():
            try:
                async with self._log.subscribe(self._group, self._topic, self._positions) as subscription:
                    await self._consume(subscription)
            # A consumer that ends would leave its partitions unread, so it never does.
            except Exception as error:
                self._retries["read"].inc()
                self._report(error, "read")
                await self._pause.after_failure()

    async def _consume(self, subscription: Subscription) -> None:
        read_at = monotonic()
        while not self._stop.is_set():
            try:
                slices = await subscription.read(max_records=self._max_records, max_wait=READ_WAIT)
                read_at = monotonic()
            except UnavailableError as error:
                # Leaving the group would only make the others take over what they cannot read either. But
                # after a while it may be this member's own connections that lead nowhere.
                if monotonic() > read_at + LEAVE_AFTER_S:
                    raise
                self._retries["read"].inc()
                self._report(error, "read")
                await self._pause.after_failure()
                continue
            applied = 0
            for part in slices:
                if self._stop.is_set():
                    return
                applied += await self._apply_slice(subscription, part)
            if applied == len(slices):
                self._pause.reset()
                if self._pace is not None:
                    await self._pace.rest(sum(len(part.records) for part in slices))
            else:
                await self._pause.after_failure()

    async def _apply_slice(self, subscription: Subscription, part: Slice) -> bool:
        """Apply one slice; whatever happens, the subscription knows where to go on."""
        started = perf_counter()
        try:
            await SliceSpans(self._group, part).apply(self._apply)
        except FencedError as error:
            self._retries["fenced"].inc()
            logger.info("%s", error)
            subscription.rewind(part.partition)
            return False
        # Never skip: even a failure that nobody foresaw repeats until it is cured.
        except Exception as error:
            self._retries["apply"].inc()
            self._report(error, f"apply partition {part.partition} from {part.expected} of")
            subscription.rewind(part.partition)
            return False
        self._apply_seconds.observe(perf_counter() - started)
        self._slice_records.observe(len(part.records))
        subscription.note_applied(part)
        return True

    def _report(self, error: Exception, what: str) -> None:
        """An outage is a warning, since it cures itself; anything else is a fault that a person must see."""
        sentence = "%s cannot %s %s now and will try again"
        if isinstance(error, UnavailableError | StalledError | OSError):
            logger.warning(sentence + ": %s", self._group, what, self._topic, error)
        else:
            logger.error(sentence, self._group, what, self._topic, exc_info=error)


class _Pause:
    """Waits between failures, longer each time, with jitter so that members do not return all at once.

    The first of several failures costs no wait: a fenced member may go on at once.
    """

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    async def after_failure(self) -> None:
        seconds = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
        self._failures += 1
        await is_set_within(self._stop, seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
