"""Which registry version is in force at which instant, kept up to date from the registry service."""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from datetime import datetime, timedelta
from hashlib import sha256

import msgspec

from shared.contracts.registry import Snapshot, VersionList, VersionListing
from shared.contracts.topics import REGISTRY_PUBLISHED
from shared.errors import LLMRingError, UnavailableError
from shared.event_log.port import EventLog
from shared.pricebook.edition import Edition
from shared.pricing.versions import Timeline
from shared.web.client import Upstream

_KEPT_EDITIONS = 64
_REFRESH_EVERY = timedelta(seconds=30)

_log = logging.getLogger(__name__)
_list_decoder = msgspec.json.Decoder(VersionList)
_snapshot_decoder = msgspec.json.Decoder(Snapshot)


class Pricebook:
    """Finds the edition in force at an instant, by the rule of `Timeline`.

    Versions are immutable, so an edition once read is never read again.

    Args:
        registry: the registry service.
    """

    def __init__(self, registry: Upstream) -> None:
        self._registry = registry
        self._timeline: Timeline[VersionListing] = Timeline(())
        self._editions: OrderedDict[str, Edition] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Edition]] = {}

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
        """Read the list of versions.

        Raises:
            UnavailableError: the registry is away.
        """
        answer = await self._registry.call("GET", "/registry/versions")
        self._timeline = Timeline(_list_decoder.decode(answer.body).versions)
        return self._timeline

    async def follow(self, event_log: EventLog, stop: asyncio.Event) -> None:
        """Refresh on every `registry.published`, and now and then, until told to stop."""
        async with event_log.tail(REGISTRY_PUBLISHED) as published:
            await self._refresh_quietly()
            pending = asyncio.ensure_future(anext(published))
            stopping = asyncio.ensure_future(stop.wait())
            try:
                while not stop.is_set():
                    await asyncio.wait(
                        [pending, stopping],
                        timeout=_REFRESH_EVERY.total_seconds(),
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if pending.done():
                        pending.result()
                        pending = asyncio.ensure_future(anext(published))
                    if not stop.is_set():
                        await self._refresh_quietly()
            finally:
                for each in (pending, stopping):
                    each.cancel()
                    with contextlib.suppress(asyncio.CancelledError, Exception):
                        await each

    async def _refresh_quietly(self) -> None:
        try:
            await self.refresh()
        except LLMRingError as error:
            _log.warning("the list of registry versions could not be read: %s", error.detail)

    async def _load(self, version: str) -> Edition:
        answer = await self._registry.call("GET", f"/registry/v/{version}/registry.json")
        edition = Edition(_snapshot_decoder.decode(answer.body), sha256(answer.body).hexdigest())
        self._editions[version] = edition
        if len(self._editions) > _KEPT_EDITIONS:
            self._editions.popitem(last=False)
        return edition
