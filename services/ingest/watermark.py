"""Read your own writes: the newest record of each account, and how far the rater has come."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from services.ingest.elsewhere import Elsewhere
from shared.coalescer import Coalescer
from shared.errors import UnavailableError
from shared.event_log.port import Position

MAX_ACCOUNTS: Final = 100_000
_POLL_S: Final = 0.02

Offsets = dict[int, int]
"""The next offset of each partition."""


class Watermark:
    """Remembers the position of each account's newest record, and waits for it to be applied.

    Args:
        load_applied: reads the stored next offset of each partition; asked only while a read has to wait.
        hurry: called while a read waits, so that a rater that rests goes on.
        elsewhere: what other processes accept; None where this process is the only one.
    """

    def __init__(
        self,
        load_applied: Callable[[], Awaitable[Offsets]],
        hurry: Callable[[], None] = lambda: None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._load_applied = load_applied
        self._hurry = hurry
        self._elsewhere = elsewhere
        self._everybodys: Offsets = {}
        self._newest: OrderedDict[UUID, Position] = OrderedDict()
        self._applied: Offsets = {}
        self._moved = asyncio.Event()
        self._looks: Coalescer[None, None] = Coalescer(self._look)

    def started(self, ends: Mapping[int, int]) -> None:
        """Note the end of each partition at the start: what was accepted before is not remembered."""
        _raise(self._everybodys, ends)

    async def accepted(self, account_id: UUID, position: Position) -> None:
        """Note the position of a record that the event log has acknowledged, before its caller is told.

        It does not fail, and it waits for nothing where this process is the only one.
        """
        known = self._newest.get(account_id)
        if known is None or known.partition != position.partition or known.offset < position.offset:
            self._newest[account_id] = position
            self._newest.move_to_end(account_id)
            if len(self._newest) > MAX_ACCOUNTS:
                _, forgotten = self._newest.popitem(last=False)
                _raise(self._everybodys, {forgotten.partition: forgotten.offset + 1})
        if self._elsewhere is not None:
            await self._elsewhere.note(account_id, position)

    def applied(self, partition: int, next_offset: int) -> None:
        """Note that a rater has committed up to an offset. Wakes the reads that wait."""
        if next_offset > self._applied.get(partition, 0):
            self._applied[partition] = next_offset
            self._moved.set()

    async def wait(self, account_id: UUID, at_most: timedelta) -> bool:
        """Wait until the account's newest record can be read. False: it cannot yet, or nobody can tell.

        Raises:
            UnavailableError: the database is away, so nothing can be read at all.
        """
        deadline = time.monotonic() + at_most.total_seconds()
        demanded = self._demanded_here(account_id)
        if self._elsewhere is not None:
            try:
                async with asyncio.timeout(at_most.total_seconds()):
                    seen = await self._elsewhere.find(account_id)
            except (UnavailableError, TimeoutError):
                return False
            _raise(demanded, seen.ends)
            if seen.newest is not None:
                _raise(demanded, {seen.newest[0]: seen.newest[1] + 1})
            if not self._is_applied(demanded):
                await self._looks.submit(None)  # nobody here will tell
        while not self._is_applied(demanded):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._moved.clear()
            self._hurry()
            try:
                # The rater may run in another process: then nobody wakes us, and we have to look.
                await asyncio.wait_for(self._moved.wait(), min(_POLL_S, left_s))
            except TimeoutError:
                await self._looks.submit(None)
        return True

    def _demanded_here(self, account_id: UUID) -> Offsets:
        """What has to be applied before this account can be answered, as far as this process knows."""
        if self._everybodys and self._is_applied(self._everybodys):
            self._everybodys = {}
        demanded = dict(self._everybodys)
        newest = self._newest.get(account_id)
        if newest is not None:
            if self._applied.get(newest.partition, 0) > newest.offset:
                del self._newest[account_id]
            else:
                _raise(demanded, {newest.partition: newest.offset + 1})
        return demanded

    def _is_applied(self, demanded: Offsets) -> bool:
        return all(self._applied.get(partition, 0) >= end for partition, end in demanded.items())

    async def _look(self, readers: Sequence[None]) -> Sequence[None]:
        for partition, next_offset in (await self._load_applied()).items():
            self.applied(partition, next_offset)
        return readers


def _raise(offsets: Offsets, to: Mapping[int, int]) -> None:
    for partition, end in to.items():
        if end > offsets.get(partition, 0):
            offsets[partition] = end
