"""What the other ingest processes have accepted, as far as a read must know of it.

Every process notes an account's newest position in one store, before it answers. The store forgets: an entry
after its time, all of them when it is restarted; and it may be away. So a read can ask for more than the
note: the ends of the partitions in the event log, before which lies everything acknowledged so far. It does
- while the store is away, and for a little longer, since others may notice its return later;
- when this process's own entry is gone, the witness: then those noted before it may be gone as well.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from shared.coalescer import Coalescer
from shared.errors import UnavailableError
from shared.event_log.port import Position

_OTHERS_NOTICE_S: Final = 2.0
"""Within so long of the store's return every process has noticed it."""

_ENDS_WITHIN_S: Final = 1.0
_WITNESSED: Final = (0, 0)


class SharedMarks(Protocol):
    """The newest position of each key, for all processes and for a while; `shared.redis.Marks` is one.

    All entries are kept equally long, so that one noted later is never forgotten first, unless all are.
    """

    async def raise_to(self, key: bytes, position: tuple[int, int]) -> None:
        """Note a position, unless a higher offset of the same partition is noted.

        Raises:
            UnavailableError: the store is away; told at once while it stays away.
        """
        ...

    async def find(self, key: bytes) -> tuple[int, int] | None:
        """The position noted for a key, if its time is not over.

        Raises:
            UnavailableError: the store is away; told at once while it stays away.
        """
        ...


class Seen(NamedTuple):
    """What a read has to wait for.

    Attributes:
        newest: partition and offset of the account's newest record, as far as it is noted.
        ends: next offsets per partition, before which lies everything that may not be noted.
    """

    newest: tuple[int, int] | None
    ends: Mapping[int, int]


class Elsewhere:
    """Tells the other processes what was accepted here, and asks what was accepted there.

    Args:
        marks: the shared store.
        load_ends: the next offset of each partition in the event log.
    """

    def __init__(self, marks: SharedMarks, load_ends: Callable[[], Awaitable[Mapping[int, int]]]) -> None:
        self._marks = marks
        self._load_ends = load_ends
        self._asking_ends: Coalescer[None, None] = Coalescer(self._ask_ends)
        self._ends: dict[int, int] = {}
        self._witness = b"witness:" + os.urandom(16)
        self._distrusted_until = -float("inf")
        self._vouched_at = -float("inf")

    async def note(self, account_id: UUID, position: Position) -> None:
        """Note the position of an acknowledged record. It does not fail: reads make up for it."""
        try:
            await self._marks.raise_to(account_id.bytes, position)
        except UnavailableError:
            self._distrust(_OTHERS_NOTICE_S)

    async def find(self, account_id: UUID) -> Seen:
        """What a read of an account has to wait for.

        Raises:
            UnavailableError: neither the store nor the event log can tell.
        """
        newest = None
        try:
            newest, witness = await asyncio.gather(
                self._marks.find(account_id.bytes), self._marks.find(self._witness)
            )
        except UnavailableError:
            self._distrust(_OTHERS_NOTICE_S)
        else:
            if witness is None:
                self._distrust(0)
        if self._vouched_at < self._distrusted_until:
            now = time.monotonic()
            # The witness first: should the store forget from here on, the next read will see it.
            with contextlib.suppress(UnavailableError):
                await self._marks.raise_to(self._witness, _WITNESSED)
            await self._asking_ends.submit(None)
            self._vouched_at = max(self._vouched_at, now)
        return Seen(newest, self._ends)

    def _distrust(self, seconds: float) -> None:
        self._distrusted_until = max(self._distrusted_until, time.monotonic() + seconds)

    async def _ask_ends(self, readers: Sequence[None]) -> Sequence[None]:
        try:
            async with asyncio.timeout(_ENDS_WITHIN_S):  # others queue up behind
                ends = await self._load_ends()
        except TimeoutError:
            raise UnavailableError("The event log is not available at the moment.") from None
        for partition, end in ends.items():
            self._ends[partition] = max(end, self._ends.get(partition, 0))
        return readers
