"""Follow `keys.changed`, and know for certain whether it is followed.

A tail that has silently stopped looks like a topic on which nothing happens. So the topic's end is asked for
several times a second: what stood before it at one look must have arrived by the next, or the tail is not
trusted any more. With the figures below, a change that does not arrive is noticed at most 0.3 + 0.3 s after
it, or 0.3 + 0.4 s when the log does not even answer; both leave room within the promised second.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Coroutine
from typing import Final

import msgspec

from services.gateway.keyring import Keyring
from shared.contracts.keys import KeysChanged
from shared.contracts.topics import KEYS_CHANGED
from shared.errors import LLMRingError, UnavailableError
from shared.event_log.port import EventLog, StoredRecord
from shared.runtime.service import Worker
from shared.stopping import is_set_within

_LOOK_EVERY_S: Final = 0.3
_ANSWER_WITHIN_S: Final = 0.4
_OPEN_WITHIN_S: Final = 10.0
_TRY_AGAIN_S: Final = 0.5

_log = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(KeysChanged)


def build_watch(keyring: Keyring, event_log: EventLog) -> Worker:
    """The loop that keeps a keyring true."""

    async def run(stop: asyncio.Event) -> None:
        await watch_keys(keyring, event_log, stop)

    return Worker("gateway.keys", run)


async def watch_keys(keyring: Keyring, event_log: EventLog, stop: asyncio.Event) -> None:
    """Let the keyring doubt whatever `keys.changed` names, until told to stop."""
    away = False
    while not stop.is_set():
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with asyncio.timeout(_OPEN_WITHIN_S):
                    records = await stack.enter_async_context(event_log.tail(KEYS_CHANGED))
                    ends = await event_log.ends(KEYS_CHANGED)
                # What came before this end is not waited for: everything is asked anew from here on.
                keyring.follow()
                if away:
                    _log.info("keys.changed is followed again")
                    away = False
                try:
                    await _follow(event_log, _apply(keyring, records, ends), ends, stop)
                finally:
                    keyring.unfollow()  # before the tail is closed, which may take its time
        except Exception as error:
            # Also one that nobody thought of: not to be followed is what this loop exists to end.
            if not away:
                foreseen = isinstance(error, (LLMRingError, OSError, TimeoutError))
                _log.warning(
                    "keys.changed is not followed (%s): keys are asked for every second",
                    str(error) or "no answer",
                    exc_info=not foreseen,
                )
                away = True
        # Gateways that lost the log together do not come back to it together.
        await is_set_within(stop, _TRY_AGAIN_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter


async def _follow(
    event_log: EventLog, applying: Coroutine[None, None, None], applied: dict[int, int], stop: asyncio.Event
) -> None:
    reading = asyncio.create_task(applying, name="gateway.keys.reading")
    try:
        ends: dict[int, int] = {}
        while not await is_set_within(stop, _LOOK_EVERY_S):
            if reading.done():
                await reading
                raise UnavailableError("the tail of keys.changed has ended")
            if any(end > applied.get(partition, 0) for partition, end in ends.items()):
                raise UnavailableError("the tail of keys.changed has fallen behind")
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                ends = await event_log.ends(KEYS_CHANGED)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _apply(keyring: Keyring, records: AsyncIterator[StoredRecord], applied: dict[int, int]) -> None:
    async for record in records:
        try:
            keyring.doubt_account(_decoder.decode(record.value or b"").account_id)
        except msgspec.MsgspecError as error:
            # Something has changed and nobody knows what: safe is to ask for every key again.
            _log.warning("an event of keys.changed cannot be read: %s", error)
            keyring.doubt_all()
        applied[record.partition] = max(applied.get(record.partition, 0), record.offset + 1)
