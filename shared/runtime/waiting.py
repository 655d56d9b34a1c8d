"""Wait for what is not there yet: processes start in any order."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from shared.errors import UnavailableError

_PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0)
"""Seconds after the first failure in a row, the second, and so on; at the end, the last one again."""

_SAY_EVERY: Final = 10

_log = logging.getLogger(__name__)

T = TypeVar("T")


async def wait_for(what: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Try until it works, with pauses that grow; say so at first, when the reason changes, and now and then.

    Args:
        what: is being waited for, as the log is to name it.
        attempt: raises `UnavailableError` while that is away; any other error is passed on.
    """
    failures, said = 0, ""
    while True:
        try:
            outcome = await attempt()
        except UnavailableError as error:
            reason = str(error.__cause__ or error.detail)
            if reason != said or failures % _SAY_EVERY == 0:
                _log.warning("waiting for %s: %s", what, reason)
            said = reason
            pause_s = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
            failures += 1
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
        else:
            if failures:
                _log.info("%s is there", what)
            return outcome
