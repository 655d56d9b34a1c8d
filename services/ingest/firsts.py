"""First values in this process's memory, for the one process that has no Redis."""

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import Final, NamedTuple

from services.ingest.claim_memory import RECALL
from shared.errors import UnavailableError

MAX_BYTES: Final = 64 * 1024 * 1024
_ENTRY_BYTES: Final = 400
"""What Python itself needs for an entry, about."""


class _Entry(NamedTuple):
    value: bytes
    settled_at: float


class MemoryFirsts:
    """The first value settled for a key stands, until newer keys need its place.

    Args:
        max_bytes: how much memory it may take, about.
        recall: values as old as this must not be missing where it decides alone.
        monotonic: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        max_bytes: int = MAX_BYTES,
        recall: timedelta = RECALL,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes = max_bytes
        self._recall_s = recall.total_seconds()
        self._now = monotonic
        self._values: OrderedDict[bytes, _Entry] = OrderedDict()
        self._bytes = 0
        self._forgets_until = -float("inf")
        self.memory = ProcessMemory()

    async def settle(self, key: bytes, value: bytes) -> bytes:
        """The value that stands for a key: this one, or an earlier one."""
        found = self._values.get(key)
        if found is not None:
            return found.value
        self._values[key] = _Entry(value, self._now())
        self._bytes += _size(key, value)
        while self._bytes > self._max_bytes and len(self._values) > 1:
            self._forgets_until = max(self._forgets_until, self._drop_oldest().settled_at + self._recall_s)
        return value

    async def settle_if_whole(self, key: bytes, value: bytes) -> bytes:
        """The same.

        Raises:
            UnavailableError: something that is not old enough may be missing, or would have to go.
        """
        found = self._values.get(key)
        if found is not None:
            return found.value
        if (
            not self.memory.is_whole
            or self._now() < self._forgets_until
            or not self._make_room(_size(key, value))
        ):
            raise UnavailableError("Not enough is known of earlier requests.")
        return await self.settle(key, value)

    async def forget(self, key: bytes, value: bytes) -> None:
        """Let a value stand no more, if it is this one."""
        found = self._values.get(key)
        if found is not None and found.value == value:
            del self._values[key]
            self._bytes -= _size(key, value)

    def _make_room(self, size: int) -> bool:
        """Whether there is room without what is too young to go."""
        while self._values and self._bytes + size > self._max_bytes:
            if self._now() < next(iter(self._values.values())).settled_at + self._recall_s:
                return False
            self._drop_oldest()
        return True

    def _drop_oldest(self) -> _Entry:
        key, oldest = self._values.popitem(last=False)
        self._bytes -= _size(key, oldest.value)
        return oldest


class ProcessMemory:
    """Whether what was claimed before this process began was copied to it."""

    def __init__(self) -> None:
        self.is_whole = False

    async def begin(self) -> bytes | None:
        """Start to copy; None where that was done."""
        return None if self.is_whole else os.urandom(8)

    async def renew(self, token: bytes) -> None:
        """It goes on."""

    async def end(self, token: bytes) -> bool:  # noqa: ARG002 - nothing is lost while the process lives
        """It is done."""
        self.is_whole = True
        return True

    async def doubt(self) -> None:
        """Something is missing."""
        self.is_whole = False


def _size(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + _ENTRY_BYTES
