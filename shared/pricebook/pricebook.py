"""Which registry version is in force at which instant, kept up to date from the registry service."""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from datetime import datetime
from hashlib import sha256
from typing import Final

import msgspec

from shared.clock import Clock, SystemClock
from shared.contracts.registry import Snapshot, VersionList, VersionListing
from shared.contracts.topics import REGISTRY_PUBLISHED
from shared.errors import LLMRingError, NotFoundError, UnavailableError
from shared.event_log.port import EventLog
from shared.pricebook.edition import Edition
from shared.pricing.versions import Timeline, parse_version
from shared.web.client import Upstream

_KEPT_EDITIONS: Final = 64
_KEPT_ABSENT: Final = 1_000
_LOADED_AHEAD: Final = 8
_LOOK_EVERY_S: Final = 0.5
_LISTEN_AGAIN_S: Final = 0.5
_SETTLE_S: Final = 1.0
"""So long an instance of the registry may know nothing of a version that another one has told of."""
_ASK_AGAIN_S: Final = 0.1
_BELIEVE_LOSS_S: Final = 10.0
"""A list without the newest known version is believed after so long: the registry was restored."""

_log = logging.getLogger(__name__)
_list_decoder = msgspec.json.Decoder(VersionList)
_snapshot_decoder = msgspec.json.Decoder(Snapshot)


class Pricebook:
    """Finds the edition in force at an instant, by the rule of `Timeline`.

    Versions are immutable, so an edition once read is never read again. A version counts once it is read, so
    nobody waits for one that is new; one that is to come into force later is read ahead.

    Args:
        registry: the registry service.
        clock: tells which versions are in force or still to come.
    """

    def __init__(self, registry: Upstream, clock: Clock | None = None) -> None:
        self._registry = registry
        self._clock = clock or SystemClock()
        self._timeline: Timeline[VersionListing] = Timeline(())
        self._listed: Timeline[VersionListing] = Timeline(())
        self._tag: bytes | None = None
        self._refreshing = asyncio.Lock()
        self._behind_since: float | None = None
        self._editions: OrderedDict[str, Edition] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Edition]] = {}
        self._absent: set[str] = set()
        self._is_failing = False

    def find_in_force(self, at: datetime) -> Edition | None:
        """The edition in force at an instant, if it is in memory."""
        listed = self._timeline.find_in_force(at)
        if listed is None:
            return None
        edition = self._editions.get(listed.version)
        if edition is not None:
            self._editions.move_to_end(listed.version)
        return edition

    async def in_force(self, at: datetime) -> Edition:
        """The edition in force at an instant, read from the registry where it is not in memory.

        Raises:
            UnavailableError: the registry is away, or holds no version yet.
        """
        listed = self._timeline.find_in_force(at)
        if listed is None:
            listed = (await self.refresh()).find_in_force(at)
        if listed is None:
            raise UnavailableError("The registry holds no version yet.")
        return await self.edition(listed.version)

    async def edition(self, version: str) -> Edition:
        """One version by its name.

        Raises:
            NotFoundError: there is no such version.
            UnavailableError: the registry is away.
        """
        edition = self._editions.get(version)
        if edition is not None:
            self._editions.move_to_end(version)
            return edition
        task = self._loading.get(version)
        if task is None:
            task = self._loading[version] = asyncio.create_task(self._load(version))
            task.add_done_callback(lambda _: self._loading.pop(version, None))
        return await asyncio.shield(task)

    async def refresh(self) -> Timeline[VersionListing]:
        """Read the list of versions, and those of them that are in force or will be.

        Raises:
            UnavailableError: the registry is away. What was known counts on.
        """
        async with self._refreshing:
            listed = await self._read_list()
            if not self._is_behind(listed):
                try:
                    for listing in listed.list_from(self._clock.now())[:_LOADED_AHEAD]:
                        await self.edition(listing.version)
                except NotFoundError as error:
                    raise UnavailableError("The registry does not have all of its versions yet.") from error
                self._timeline = listed
        return self._timeline

    async def follow(self, event_log: EventLog, stop: asyncio.Event) -> None:
        """Keep up to date until told to stop: look on every `registry.published`, and twice a second anyway.

        So it needs the event log for nothing but haste.
        """
        told = asyncio.Event()
        tasks = [
            asyncio.create_task(_listen(event_log, told), name="pricebook-listen"),
            asyncio.create_task(_pass_on(stop, told), name="pricebook-stop"),
        ]
        try:
            while not stop.is_set():
                told.clear()
                await self._refresh_quietly()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_EVERY_S):
                        await told.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _read_list(self) -> Timeline[VersionListing]:
        headers = [] if self._tag is None else [(b"if-none-match", self._tag)]
        answer = await self._registry.call("GET", "/registry/versions", headers=headers)
        if answer.status != 304:
            self._listed = Timeline(_list_decoder.decode(answer.body).versions)
            self._tag = next((value for name, value in answer.headers if name.lower() == b"etag"), None)
        return self._listed

    def _is_behind(self, listed: Timeline[VersionListing]) -> bool:
        """Whether a list comes from an instance of the registry that does not know the newest version yet."""
        known, newest = self._timeline.newest, listed.newest
        if known is None or (newest is not None and newest >= known):
            self._behind_since = None
            return False
        now = asyncio.get_running_loop().time()
        if self._behind_since is None:
            self._behind_since = now
        return now - self._behind_since < _BELIEVE_LOSS_S

    async def _refresh_quietly(self) -> None:
        try:
            await self.refresh()
        except LLMRingError as error:
            if not self._is_failing:
                _log.warning("the list of registry versions cannot be read: %s", error.detail)
            self._is_failing = True
        else:
            if self._is_failing:
                _log.info("the list of registry versions can be read again")
            self._is_failing = False

    async def _load(self, version: str) -> Edition:
        loop = asyncio.get_running_loop()
        until = loop.time() + (_SETTLE_S if self._may_be_new(version) else 0.0)
        while True:
            try:
                answer = await self._registry.call("GET", f"/registry/v/{version}/registry.json")
                break
            except NotFoundError:
                if loop.time() >= until:
                    if len(self._absent) >= _KEPT_ABSENT:
                        self._absent.clear()
                    self._absent.add(version)
                    raise
                await asyncio.sleep(_ASK_AGAIN_S)
        edition = Edition(_snapshot_decoder.decode(answer.body), sha256(answer.body).hexdigest())
        self._editions[version] = edition
        if len(self._editions) > _KEPT_EDITIONS:
            self._editions.popitem(last=False)
        return edition

    def _may_be_new(self, version: str) -> bool:
        """Whether another instance of the registry may have published it just now."""
        newest = self._timeline.newest
        return version not in self._absent and (newest is None or parse_version(version) > newest)


async def _listen(event_log: EventLog, told: asyncio.Event) -> None:
    """Set the event whenever a version is published, for as long as that can be heard."""
    while True:
        try:
            async with event_log.tail(REGISTRY_PUBLISHED) as published:
                told.set()  # it may have been before
                async for _ in published:
                    told.set()
        except LLMRingError as error:
            _log.info("new registry versions cannot be heard of for now: %s", error.detail)
        except Exception:
            _log.exception("new registry versions cannot be heard of for now")
        await asyncio.sleep(_LISTEN_AGAIN_S)


async def _pass_on(stop: asyncio.Event, told: asyncio.Event) -> None:
    await stop.wait()
    told.set()
