"""Tell the event log of every version, at least once, after its commit."""

import asyncio
import logging
from datetime import datetime
from typing import Final

import msgspec

from services.registry.store import list_unannounced, mark_announced
from shared.clock import Clock
from shared.contracts.registry import RegistryPublished
from shared.contracts.topics import REGISTRY_PUBLISHED
from shared.errors import UnavailableError
from shared.event_log.port import EventLog, Record
from shared.postgres import Database
from shared.stopping import is_set_within
from shared.telemetry.metrics import OUTBOX_SECONDS

_KEY: Final = b"registry"
_encoder: Final = msgspec.json.Encoder()
_oldest_age: Final = OUTBOX_SECONDS.labels(REGISTRY_PUBLISHED)
_log = logging.getLogger(__name__)


async def announce_versions(database: Database, event_log: EventLog, clock: Clock) -> int:
    """Append `registry.published` for each version that has none, in order; say how many.

    The event goes out before it is noted as told, so a crash between the two tells it twice and never not at
    all. Two processes never tell the same version at the same time.

    Raises:
        UnavailableError: the database or the event log is away; nothing is noted as told.
    """
    async with database.transaction() as connection:
        pending = await list_unannounced(connection)
        if not pending:
            return 0
        events = [
            RegistryPublished(
                version=each.version,
                generated_at=each.generated_at,
                effective_from=each.effective_from,
                digest=each.digest,
            )
            for each in pending
        ]
        await event_log.append(REGISTRY_PUBLISHED, [Record(_KEY, _encoder.encode(event)) for event in events])
        await mark_announced(connection, [each.version for each in pending], clock.now())
    return len(pending)


async def run_announcer(
    stop: asyncio.Event, *, database: Database, event_log: EventLog, clock: Clock, every_s: float
) -> None:
    """Announce what a crash or an outage left unannounced, until `stop` is set."""
    failing_since: datetime | None = None
    while not stop.is_set():
        try:
            told = await announce_versions(database, event_log, clock)
            if told:
                _log.info("announced %d registry versions", told)
            failing_since = None
            _oldest_age.set(0)
        except UnavailableError as error:
            failing_since = failing_since or clock.now()
            _oldest_age.set((clock.now() - failing_since).total_seconds())
            _log.warning("registry versions are not announced yet: %s", error.detail)
        await is_set_within(stop, every_s)
