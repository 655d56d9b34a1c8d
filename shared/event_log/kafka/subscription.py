"""One member's reading. The broker shares the partitions out; where to start, the group's positions say."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, Protocol

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from shared.errors import UnavailableError
from shared.event_log.kafka.brokers import Brokers
from shared.event_log.kafka.clients import Consumer, build_member, translated
from shared.event_log.kafka.stall import LOOK_EVERY_S, StallWatch
from shared.event_log.kafka.stored import stored_records
from shared.event_log.port import PositionLostError, Positions, Slice, StalledError

logger = logging.getLogger(__name__)

_JOIN_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 5.0
_COMMIT_SECONDS: Final = 2.0
_PATIENCE_SECONDS: Final = 1.0


class Offsets(Protocol):
    """Where a topic's partitions begin and end.

    Not asked of the member's own client: a question of it has the library's time-out twice, at the same
    moment, so that a connection which the network has forgotten is not renewed but asked again.
    """

    async def begins(self, topic: str) -> dict[int, int]:
        """See `EventLog.begins`."""
        ...

    async def ends(self, topic: str) -> dict[int, int]:
        """See `EventLog.ends`."""
        ...


class KafkaSubscription(ConsumerRebalanceListener):
    """A share of a group's partitions; made by `open_subscription`."""

    def __init__(
        self, consumer: Consumer, topic: str, group: str, positions: Positions, offsets: Offsets
    ) -> None:
        self._consumer = consumer
        self._offsets = offsets
        self._topic = topic
        self._group = group
        self._positions = positions
        self._loop = asyncio.get_running_loop()
        self._next: dict[int, int] = {}
        self._generation = 0
        self._applied: dict[int, int] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._committed_at = self._loop.time()
        self._restless_since: float | None = None
        self._watch = StallWatch(self._committed_at)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - named so by the library
        """Called by the library: what was fetched and not handed out is void."""
        self._generation += 1
        self._next.clear()
        self._applied.clear()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called by the library: every partition starts at its stored position again."""
        self._generation += 1
        self._next.clear()
        self._watch.start_again(self._loop.time())
        logger.info("%s reads %s of %s", self._group, sorted(tp.partition for tp in assigned), self._topic)

    async def read(self, *, max_records: int, max_wait: timedelta) -> list[Slice]:
        """See `Subscription.read`."""
        await self._commit_now_and_then()
        await self._look_for_stalls()
        generation = self._generation
        await self._seek(generation)
        ready = [TopicPartition(self._topic, partition) for partition in self._next]
        found = {}
        with translated():
            try:
                # While the group is in motion the library waits without an end.
                async with asyncio.timeout(max_wait.total_seconds() + _PATIENCE_SECONDS):
                    found = await self._consumer.getmany(
                        *ready, timeout_ms=int(max_wait.total_seconds() * 1000), max_records=max_records
                    )
            except BaseException as error:
                # The library may have handed something out that has not arrived here.
                self._next.clear()
                if not isinstance(error, TimeoutError):
                    raise
                self._restless_since = self._restless_since or self._loop.time()
                if self._loop.time() > self._restless_since + LOOK_EVERY_S:
                    raise StalledError(f"{self._group} does not come to rest") from None
                return []
        self._restless_since = None
        if generation != self._generation:
            return []  # fetched before the latest reassignment: the stored positions decide
        slices = []
        for tp, records in found.items():
            expected = self._next[tp.partition]
            if not records:
                continue
            if records[0].offset < expected:
                raise PositionLostError(
                    f"{self._group} is at {expected} of {self._topic}/{tp.partition}, "
                    f"and {records[0].offset} came: the log was lost or replaced"
                )
            part = Slice(self._topic, tp.partition, stored_records(records), expected)
            self._next[tp.partition] = part.next_offset
            slices.append(part)
        self._watch.note_read(part.partition for part in slices)
        return slices

    def note_applied(self, applied: Slice) -> None:
        """See `Subscription.note_applied`."""
        self._applied[applied.partition] = applied.next_offset

    def rewind(self, partition: int) -> None:
        """See `Subscription.rewind`."""
        self._next.pop(partition, None)

    async def _seek(self, generation: int) -> None:
        """Go to the stored position wherever this member has none of its own yet."""
        unknown = {tp.partition: tp for tp in self._consumer.assignment() if tp.partition not in self._next}
        if not unknown:
            return
        stored = await self._positions.load(self._group, self._topic, list(unknown))
        begins = await self._offsets.begins(self._topic)
        ends = await self._offsets.ends(self._topic)
        if generation != self._generation:
            return
        for partition, tp in unknown.items():
            begin, end = begins[partition], ends[partition]
            start = stored.get(partition, begin)
            if start > end:
                raise PositionLostError(
                    f"{self._group} is at {start} of {self._topic}/{partition}, "
                    f"which ends at {end}: the log was lost or replaced"
                )
            if start < begin:
                logger.error("%s/%d: %d to %d are gone", self._topic, partition, start, begin - 1)
            self._consumer.seek(tp, start)
            self._next[partition] = start

    async def _look_for_stalls(self) -> None:
        if not self._watch.is_due(self._loop.time()):
            return
        ends = await self._offsets.ends(self._topic)
        if stalled := self._watch.look(self._loop.time(), self._next, ends):
            raise StalledError(f"{self._group} gets nothing of {self._topic}, partitions {stalled}")

    async def _commit_now_and_then(self) -> None:
        """Tell the broker how far the group is, for those who watch its lag. Nothing reads it back."""
        if self._loop.time() - self._committed_at >= _COMMIT_SECONDS:
            self._committed_at = self._loop.time()
            await self.commit()

    async def commit(self) -> None:
        """Tell the broker what is applied by now; a failure is of no consequence."""
        applied, self._applied = self._applied, {}
        if not applied:
            return
        offsets = {TopicPartition(self._topic, partition): offset for partition, offset in applied.items()}
        # Not cancelled when its time is over: the library goes on, and nobody would hear how that ends.
        telling = asyncio.create_task(self._tell(offsets))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)
        await asyncio.wait([telling], timeout=_COMMIT_SECONDS)

    async def _tell(self, offsets: dict[TopicPartition, int]) -> None:
        try:
            await self._consumer.commit(offsets)
        except (KafkaError, OSError, ValueError) as error:
            logger.info("%s could not tell its lag: %s", self._group, error)


@asynccontextmanager
async def open_subscription(
    brokers: Brokers, topic: str, group: str, positions: Positions, offsets: Offsets
) -> AsyncIterator[KafkaSubscription]:
    """Join the group, stay a member while the block runs, and leave it.

    Raises:
        UnavailableError: no broker answers, or the group does not settle.
    """
    consumer = build_member(brokers, group)
    subscription = KafkaSubscription(consumer, topic, group, positions, offsets)
    consumer.subscribe([topic], listener=subscription)
    try:
        with translated():
            async with asyncio.timeout(_JOIN_SECONDS):
                await consumer.start()
        yield subscription
        await subscription.commit()
    finally:
        await stop_consumer(consumer)


async def stop_consumer(consumer: Consumer) -> None:
    """Stop a consumer, whether its broker is there or not."""
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await consumer.stop()
    except (KafkaError, OSError, UnavailableError) as error:
        logger.info("a consumer did not part in peace: %s", error)
