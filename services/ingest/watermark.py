"""Read your own writes: the newest record of each account, and how far the rater has come."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
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
    """

    def __init__(self, load_applied: Callable[[], Awaitable[dict[int, int]]], keep: timedelta) -> None:
        self._load_applied = load_applied
        self._keep_s = keep.total_seconds()
        self._newest: OrderedDict[UUID, tuple[int, int, float]] = OrderedDict()
        self._applied: dict[int, int] = {}
        self._moved = asyncio.Event()

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
        newest = self._newest.get(account_id)
        if newest is None:
            return True
        partition, offset, until = newest
        if time.monotonic() > until:
            self._newest.pop(account_id, None)
            return True
        deadline = time.monotonic() + at_most.total_seconds()
        while self._applied.get(partition, 0) <= offset:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._moved.clear()
            try:
                # The rater may run in another process: then nobody wakes us, and we have to look.
                await asyncio.wait_for(self._moved.wait(), min(_POLL.total_seconds(), left_s))
            except TimeoutError:
                for each, next_offset in (await self._load_applied()).items():
                    self.applied(each, next_offset)
        return True
