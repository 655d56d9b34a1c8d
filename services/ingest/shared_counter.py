"""Counts the records of a month in Redis, for all processes of this service."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from services.ingest.quota_counter import Bucket, Item, Taken
from shared.redis import Redis, Tallies

KEEP: Final = timedelta(days=40)
KEEP_NAMES: Final = timedelta(minutes=15)
"""Who repeats a request does so within minutes, and what is stored by then is not counted again anyway."""


class SharedCounter:
    """A `QuotaCounter`.

    Args:
        redis: where the counts are.
        prefix: of all keys in Redis; no other user of the server may have one that begins with it.
    """

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._tallies = Tallies(redis, prefix, KEEP, KEEP_NAMES)

    async def take(self, bucket: Bucket, limit: int, items: Sequence[Item]) -> Taken | None:
        """See `QuotaCounter`. Those with a log id come first."""
        names = [_name(bucket, item) for item in items if item is not None]
        tally = await self._tallies.take(_key(bucket), limit, len(items) - len(names), names)
        if tally is None:
            return None
        named, unnamed_left = iter(tally.named), tally.unnamed
        passed = []
        for item in items:
            if item is not None:
                passed.append(next(named))
            else:
                passed.append(unnamed_left > 0)
                unnamed_left -= 1
        return Taken(passed, tally.used)

    async def begin(self, bucket: Bucket, used: int) -> None:
        """See `QuotaCounter`."""
        await self._tallies.begin(_key(bucket), used)

    async def give_back(self, bucket: Bucket, items: Sequence[Item]) -> None:
        """See `QuotaCounter`."""
        names = [_name(bucket, item) for item in items if item is not None]
        await self._tallies.give_back(_key(bucket), len(items), names)

    async def forget(self, bucket: Bucket) -> None:
        """See `QuotaCounter`."""
        await self._tallies.forget(_key(bucket))


def _key(bucket: Bucket) -> bytes:
    return bucket.account_id.bytes + bucket.month.isoformat().encode()


def _name(bucket: Bucket, item: Item) -> bytes:
    return bucket.account_id.bytes + (b"" if item is None else item.bytes)
