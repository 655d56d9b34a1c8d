"""One member's reading."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from shared.errors import UnavailableError
from shared.event_log.port import PositionLostError, Positions, Slice
from shared.event_log.postgres.membership import RENEWAL, Membership
from shared.event_log.postgres.records import list_ends, list_records, rotated
from shared.event_log.postgres.topics import Topic
from shared.event_log.postgres.wakeups import Wakeups
from shared.postgres import Database

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
"""How often a reader looks without having been woken, should a wake-up have been lost."""

STALLED: Final = timedelta(minutes=5)
"""A member that does not come back from its work for so long gives up its partitions."""

_EARLIEST: Final = -1


class PostgresSubscription:
    """A share of a group's partitions; made by `open_subscription`."""

    def __init__(
        self, database: Database, topic: Topic, group: str, positions: Positions, bell: asyncio.Event
    ) -> None:
        self._database = database
        self._topic = topic
        self._group = group
        self._positions = positions
        self._bell = bell
        self._assigned: list[int] = []
        self._next: dict[int, int] = {}
        self._turn = 0
        self._looked_at = 0.0
        self._loop = asyncio.get_running_loop()
        self.called_at = self._loop.time()

    async def read(self, *, max_records: int, max_wait: timedelta) -> list[Slice]:
        """See `Subscription.read`."""
        deadline = self._loop.time() + max_wait.total_seconds()
        while True:
            now = self.called_at = self._loop.time()
            if self._bell.is_set() or now - self._looked_at >= POLL_SECONDS:
                self._bell.clear()
                slices = await self._fetch(max_records)
                if slices:
                    self._bell.set()  # there may be more
                    return slices
                self._looked_at = now
            if now >= deadline:
                return []
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(deadline, self._looked_at + POLL_SECONDS) - now):
                    await self._bell.wait()

    def note_applied(self, applied: Slice) -> None:
        """Nothing to do: the positions' own table tells the lag."""

    def rewind(self, partition: int) -> None:
        """See `Subscription.rewind`."""
        self._next.pop(partition, None)
        self._bell.set()

    def assign(self, partitions: list[int]) -> None:
        """Read these partitions from now on; those that are new start at the group's position."""
        if partitions != self._assigned:
            logger.info("%s reads %s of %s", self._group, partitions, self._topic.name)
            for lost in set(self._assigned) - set(partitions):
                self._next.pop(lost, None)
            self._assigned = partitions
            self._bell.set()

    async def _fetch(self, max_records: int) -> list[Slice]:
        try:
            await self._load_positions()
            self._turn += 1
            starts = {
                partition: self._next[partition]
                for partition in rotated(self._assigned, self._turn)
                if partition in self._next
            }
            if not starts:
                return []
            async with self._database.connection() as connection:
                found = await list_records(connection, self._topic, starts, max_records)
        except UnavailableError:
            self._bell.set()
            raise
        slices = []
        for partition, records in found.items():
            if self._next.get(partition) != starts[partition]:
                continue  # the partition was taken away meanwhile
            expected = starts[partition] if starts[partition] != _EARLIEST else records[0].offset
            if records[0].offset != expected:
                logger.error(
                    "%s/%d: %d to %d are gone", self._topic.name, partition, expected, records[0].offset - 1
                )
            self._next[partition] = records[-1].offset + 1
            slices.append(Slice(self._topic.name, partition, tuple(records), expected))
        return slices

    async def _load_positions(self) -> None:
        unknown = [partition for partition in self._assigned if partition not in self._next]
        if not unknown:
            return
        stored = await self._positions.load(self._group, self._topic.name, unknown)
        async with self._database.connection() as connection:
            ends = await list_ends(connection, self._topic)
        for partition in unknown:
            if stored.get(partition, 0) > ends[partition]:
                raise PositionLostError(
                    f"{self._group} is at {stored[partition]} of {self._topic.name}/{partition}, "
                    f"which ends at {ends[partition]}: the log was lost or replaced"
                )
            if partition in self._assigned:
                self._next[partition] = stored.get(partition, _EARLIEST)


@asynccontextmanager
async def open_subscription(
    database: Database, wakeups: Wakeups, topic: Topic, group: str, positions: Positions
) -> AsyncIterator[PostgresSubscription]:
    """Join the group, stay a member while the block runs, and leave it.

    Raises:
        UnavailableError: the database is away.
    """
    membership = Membership(database, group, topic.name)
    with wakeups.watch(topic.name) as bell, wakeups.watch(membership.bell) as members_changed:
        subscription = PostgresSubscription(database, topic, group, positions, bell)
        subscription.assign(membership.share(await membership.renew(), len(topic.partition_ids)))
        wakeups.ring({membership.bell})
        keeper = asyncio.create_task(
            _stay(membership, subscription, len(topic.partition_ids), members_changed),
            name=f"event-log-member-{group}",
        )
        try:
            yield subscription
        finally:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
            with contextlib.suppress(UnavailableError):
                await membership.leave()
            wakeups.ring({membership.bell})


async def _stay(
    membership: Membership,
    subscription: PostgresSubscription,
    partitions: int,
    members_changed: asyncio.Event,
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RENEWAL.total_seconds()):
                await members_changed.wait()
        members_changed.clear()
        if loop.time() - subscription.called_at > STALLED.total_seconds():
            continue  # the lease runs out, others take over, and the fence holds whatever still comes
        try:
            subscription.assign(membership.share(await membership.renew(), partitions))
        except UnavailableError as error:
            # Without a database nobody else can read either.
            logger.info("a lease was not renewed: %s", error.__cause__ or error)
        except Exception:
            # A member whose task has ended would keep reading without being counted.
            logger.exception("a lease was not renewed")
