"""What counts the records of a month, and the one that counts in this process's memory."""

from collections import OrderedDict
from collections.abc import Sequence
from datetime import date
from typing import Final, NamedTuple, Protocol
from uuid import UUID

_MAX_REMEMBERED: Final = 100_000

Item = UUID | None
"""A record to be counted: its log id where it has an idempotency key, and may come again."""


class Bucket(NamedTuple):
    """What is counted together: the records of one account in one month, named by its first day."""

    account_id: UUID
    month: date


class Taken(NamedTuple):
    """What came of records that asked to be counted.

    Attributes:
        passed: for each whether it may be recorded.
        used: how many are counted now.
    """

    passed: list[bool]
    used: int


class QuotaCounter(Protocol):
    """Counts, and lets no more pass than the limit; for all who share it.

    A record with a log id that was let pass a short while ago passes again and is not counted again. Each
    method raises `UnavailableError` while the counter is away.
    """

    async def take(self, bucket: Bucket, limit: int, items: Sequence[Item]) -> Taken | None:
        """Count records as long as fewer than `limit` are; None where nobody has said how many there were."""
        ...

    async def begin(self, bucket: Bucket, used: int) -> None:
        """Say how many there were, unless somebody has said so meanwhile."""
        ...

    async def give_back(self, bucket: Bucket, items: Sequence[Item]) -> None:
        """Records that were let pass were not recorded after all."""
        ...

    async def forget(self, bucket: Bucket) -> None:
        """Somebody has to say anew how many there are."""
        ...


class MemoryCounter:
    """Counts for this process alone."""

    def __init__(self) -> None:
        self._used: dict[Bucket, int] = {}
        self._passed: OrderedDict[tuple[Bucket, UUID], None] = OrderedDict()
        self._month = date.min

    async def take(self, bucket: Bucket, limit: int, items: Sequence[Item]) -> Taken | None:
        """See `QuotaCounter`."""
        used = self._used.get(bucket)
        if used is None:
            return None
        passed = []
        for item in items:
            if item is not None and (bucket, item) in self._passed:
                passed.append(True)
                continue
            passed.append(used < limit)
            if used < limit:
                used += 1
                if item is not None:
                    self._remember(bucket, item)
        self._used[bucket] = used
        return Taken(passed, used)

    async def begin(self, bucket: Bucket, used: int) -> None:
        """See `QuotaCounter`."""
        if bucket.month > self._month:  # nobody asks for the old ones again
            self._month = bucket.month
            self._used = {each: count for each, count in self._used.items() if each.month == bucket.month}
        self._used.setdefault(bucket, used)

    async def give_back(self, bucket: Bucket, items: Sequence[Item]) -> None:
        """See `QuotaCounter`."""
        if bucket in self._used:
            self._used[bucket] = max(0, self._used[bucket] - len(items))
        for item in items:
            if item is not None:
                self._passed.pop((bucket, item), None)

    async def forget(self, bucket: Bucket) -> None:
        """See `QuotaCounter`."""
        self._used.pop(bucket, None)

    def _remember(self, bucket: Bucket, item: UUID) -> None:
        self._passed[bucket, item] = None
        if len(self._passed) > _MAX_REMEMBERED:
            self._passed.popitem(last=False)
