"""Latencies in buckets that can be added up, and percentiles read from them.

Up to 100 ms each millisecond is a bucket of its own; above, the buckets grow by two percent, so that a
percentile read from them is off by about one percent (the construction of DDSketch, VLDB 2019, section 2.1).
"""

import math
from collections.abc import Sequence

EXACT_MS = 100
GROWTH = 1.02
_LOG_GROWTH = math.log(GROWTH)


def bucket_of(latency_ms: int) -> int:
    """The bucket that a latency falls into."""
    if latency_ms <= EXACT_MS:
        return latency_ms
    return EXACT_MS + math.ceil(math.log(latency_ms / EXACT_MS) / _LOG_GROWTH)


def list_bucket_starts_ms(largest_ms: int) -> list[int]:
    """The smallest latency of each bucket but the first, up to the bucket of `largest_ms`.

    As many of them as a latency has reached is the number of its bucket: what Postgres calls `width_bucket`.
    """
    starts: list[int] = []
    for bucket in range(1, bucket_of(largest_ms) + 1):
        below, at = (starts[-1] if starts else 0), largest_ms
        while at - below > 1:
            middle = (below + at) // 2
            if bucket_of(middle) < bucket:
                below = middle
            else:
                at = middle
        starts.append(at)
    return starts


def bucket_value_ms(bucket: int) -> int:
    """A latency in milliseconds that stands for all those of a bucket."""
    if bucket <= EXACT_MS:
        return bucket
    return round(EXACT_MS * 2 * GROWTH ** (bucket - EXACT_MS) / (GROWTH + 1))


def percentile_ms(counts: Sequence[tuple[int, int]], share: float) -> int | None:
    """The latency that `share` of the requests did not exceed (nearest rank); None without requests.

    Args:
        counts: pairs of bucket and number of requests, in ascending order of buckets.
        share: from 0 to 1, such as 0.95.
    """
    total = sum(requests for _, requests in counts)
    if total == 0:
        return None
    rank = max(1, math.ceil(share * total))
    seen = 0
    for bucket, requests in counts:
        seen += requests
        if seen >= rank:
            return bucket_value_ms(bucket)
    return bucket_value_ms(counts[-1][0])
