"""First values in this process's memory, for the one process that has no Redis."""

from collections import OrderedDict
from typing import Final

MAX_BYTES: Final = 64 * 1024 * 1024
_ENTRY_BYTES: Final = 300
"""What Python itself needs for an entry, about."""


class MemoryFirsts:
    """The first value settled for a key stands, until newer keys need its place.

    Args:
        max_bytes: how much memory it may take, about.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._values: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0

    async def settle(self, key: bytes, value: bytes) -> bytes:
        """The value that stands for a key: this one, or an earlier one."""
        found = self._values.get(key)
        if found is not None:
            return found
        self._values[key] = value
        self._bytes += _size(key, value)
        while self._bytes > self._max_bytes and len(self._values) > 1:
            self._bytes -= _size(*self._values.popitem(last=False))
        return value


def _size(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + _ENTRY_BYTES
