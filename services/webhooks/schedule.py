"""When a delivery that failed is tried again, and when it is given up."""

import math
import random
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

_HOUR: Final = 3_600

DELAYS: Final = tuple(
    timedelta(seconds=each)
    for each in (5, 30, 120, 600, 1_800, _HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR, 8 * _HOUR)
)
"""After the first failure, the second, and so on: a day in all. Then the delivery is given up."""

JITTER: Final = 0.2
"""Each is shortened by up to this share, so that what failed together does not come back together."""

LONGEST_RETRY_AFTER: Final = timedelta(hours=1)
"""A receiver may ask for more time, and gets so much at most."""


def find_delay(
    tries: int, retry_after: timedelta | None = None, *, chance: float | None = None
) -> timedelta | None:
    """How long to wait after so many attempts, all of which failed; None to give up.

    Args:
        tries: attempts so far, 1 at least.
        retry_after: what the receiver asked for.
        chance: between 0 and 1; drawn by default.
    """
    if tries > len(DELAYS):
        return None
    drawn = random.random() if chance is None else chance  # noqa: S311 - jitter, not a secret
    delay = DELAYS[tries - 1] * (1 - JITTER * drawn)
    return delay if retry_after is None else max(delay, min(retry_after, LONGEST_RETRY_AFTER))


def parse_retry_after(text: str | None, now: datetime) -> timedelta | None:
    """Read `Retry-After` (RFC 9110, 10.2.3): seconds or a date; None for anything else."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:12]), _HOUR * 24))
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError, IndexError):  # it raises these, though it promises one
        return None
    wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    return timedelta(seconds=math.ceil(wait.total_seconds())) if wait > timedelta() else None
