"""Turn `registry.published` into messages: one of each type and version, to every account that wants it.

What a version changed is asked of the registry service. Endpoints that were made after a version are not told
of it, so that a consumer that begins at the start of the topic, or is behind, tells nobody of old news.
"""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from services.webhooks.events import REGISTRY_EVENTS, name_message, write_message
from services.webhooks.store.endpoints import has_subscribers
from services.webhooks.store.messages import Message
from shared.clock import Clock, rfc3339
from shared.contracts.registry import RegistryPublished
from shared.errors import NotFoundError, UnavailableError
from shared.event_log.port import StoredRecord
from shared.postgres import Database
from shared.web.client import Upstream

MAX_CHANGES: Final = 100
"""In one message; what a version changed beyond goes into further ones."""

_SETTLE: Final = timedelta(minutes=1)
"""So long an instance of the registry may know nothing of a version that another one has told of."""

_log = logging.getLogger(__name__)


class _Changes(msgspec.Struct):
    """What of `VersionChanges` is passed on; each change as it stands."""

    version: str
    generated_at: datetime
    effective_from: datetime
    base: str | None
    changes: list[msgspec.Raw]


class _Type(msgspec.Struct):
    type: str


_event_decoder: Final = msgspec.json.Decoder(RegistryPublished)
_changes_decoder: Final = msgspec.json.Decoder(_Changes)
_type_decoder: Final = msgspec.json.Decoder(_Type)


class RegistryReader:
    """Reads `registry.published`.

    Args:
        database: of the schema `webhooks`: tells whether anybody wants to know.
        registry: tells what a version changed.
        clock: tells how old an event is.
    """

    def __init__(self, database: Database, registry: Upstream, clock: Clock) -> None:
        self._database = database
        self._registry = registry
        self._clock = clock

    async def read(self, record: StoredRecord) -> list[Message]:
        """The messages of a version; none where nobody wants any.

        Raises:
            ValueError: it is no such event.
            UnavailableError: the database or the registry is away.
        """
        event = _event_decoder.decode(record.value or b"")
        async with self._database.connection() as connection:
            if not await has_subscribers(connection, REGISTRY_EVENTS, event.generated_at):
                return []
        try:
            answer = await self._registry.call("GET", f"/registry/v/{event.version}/changes.json")
        except NotFoundError:
            if self._clock.now() < record.appended_at + _SETTLE:
                raise UnavailableError(f"The registry does not have {event.version} yet.") from None
            _log.warning("the registry has no version %s: nobody is told of it", event.version)
            return []
        try:
            return list(_list_messages(_changes_decoder.decode(answer.body)))
        except msgspec.MsgspecError as error:
            raise UnavailableError(f"The changes of {event.version} cannot be read: {error}.") from error


def _list_messages(told: _Changes) -> Iterator[Message]:
    by_type: dict[str, list[msgspec.Raw]] = {event: [] for event in REGISTRY_EVENTS}
    for change in told.changes:
        event = _type_decoder.decode(change).type
        if event in by_type:
            by_type[event].append(change)
    for event, changes in by_type.items():
        parts = -(-len(changes) // MAX_CHANGES)
        for part, some in enumerate(_cut(changes), start=1):
            yield write_message(
                name_message("registry", told.version, event, part),
                event,
                told.generated_at,
                {
                    "version": told.version,
                    "effective_from": rfc3339(told.effective_from),
                    "base": told.base,
                    "changes": some,
                    "part": part,
                    "parts": parts,
                },
            )


def _cut(changes: list[msgspec.Raw]) -> Iterator[list[msgspec.Raw]]:
    for start in range(0, len(changes), MAX_CHANGES):
        yield changes[start : start + MAX_CHANGES]
