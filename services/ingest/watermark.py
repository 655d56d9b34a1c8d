"""Read your own writes: the newest record of each account, and how far the rater has come."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from uuid import UUID

from shared.event_log.port import Position

_MAX_ACCOUNTS = 100_000
_POLL = timedelta(milliseconds=20)


class Watermark:
    """Remembers the position of each account's newest record, for `keep`, and waits for it to be applied.

    Args:
        load_applied: reads the stored next offset of each partition; asked only while a read has to wait.
        keep: after this long a record is taken for applied.
        hurry: called while a read waits, so that a rater that rests goes on.
    """

    def __init__(
        self,
        load_applied: Callable[[], Awaitable[dict[int, int]]],
        keep: timedelta,
        hurry: Callable[[], None] = lambda: None,
    ) -> None:
        self._load_applied = load_applied
        self._hurry = hurry
        self._keep_s = keep.total_seconds()
        self._before_start: dict[int, int] = {}
        self._newest: OrderedDict[UUID, tuple[int, int, float]] = OrderedDict()
        self._applied: dict[int, int] = {}
        self._moved = asyncio.Event()

    def started(self, ends: Mapping[int, int]) -> None:
        """Note the end of each partition at the start: what was accepted before is not remembered."""
        self._before_start = dict(ends)

    def accepted(self, account_id: UUID, position: Position) -> None:
        """Note the position of a record that the event log has acknowledged."""
        known = self._newest.get(account_id)
        if known is None or known[0] != position.partition or known[1] < position.offset:
            self._newest[account_id] = (position.partition, position.offset, time.monotonic() + self._keep_s)
            self._newest.move_to_end(account_id)
            if len(self._newest) > _MAX_ACCOUNTS:
                self._newest.popitem(last=False)

    def applied(self, partition: int, next_offset: int) -> None:
        """Note that the rater, in this process, has committed up to an offset. Wakes the reads that wait."""
        if next_offset > self._applied.get(partition, 0):
            self._applied[partition] = next_offset
            self._moved.set()

    async def wait(self, account_id: UUID, at_most: timedelta) -> bool:
        """Wait until the account's newest record can be read. False: it is not yet, after `at_most`."""
        deadline = time.monotonic() + at_most.total_seconds()
        while not self._is_applied(account_id):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._moved.clear()
            self._hurry()
            try:
                # The rater may run in another process: then nobody wakes us, and we have to look.
                await asyncio.wait_for(self._moved.wait(), min(_POLL.total_seconds(), left_s))
            except TimeoutError:
                for partition, next_offset in (await self._load_applied()).items():
                    self.applied(partition, next_offset)
        return True

    def _is_applied(self, account_id: UUID) -> bool:
        if self._before_start:
            if any(self._applied.get(each, 0) < end for each, end in self._before_start.items()):
                return False
            self._before_start = {}
        newest = self._newest.get(account_id)
        if newest is None:
            return True
        partition, offset, until = newest
        if self._applied.get(partition, 0) > offset:
            return True
        if time.monotonic() > until:
            self._newest.pop(account_id, None)
            return True
        return False
