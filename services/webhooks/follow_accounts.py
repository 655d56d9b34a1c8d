"""Follow what auth tells of accounts: who is suspended, and whose endpoints were never the owner's."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from services.webhooks.store.accounts import delete_endpoints, set_suspended
from services.webhooks.store.endpoints import lock_account
from services.webhooks.take import GROUP
from shared.clock import Clock
from shared.contracts.keys import KeysChanged
from shared.contracts.topics import KEYS_CHANGED
from shared.event_log.port import EventLog, StoredRecord
from shared.event_log.positions import PostgresPositions
from shared.event_log.take import Taker, read_events
from shared.postgres import Connection, Database

MAX_RECORDS: Final = 100

KEYS_DIE_WITHIN: Final = timedelta(seconds=1)
"""What a key does that ended is refused everywhere after that; until then it may still make an endpoint."""

_read = read_events(KeysChanged)
_log = logging.getLogger(__name__)


def build_account_taker(
    database: Database, event_log: EventLog, positions: PostgresPositions, clock: Clock
) -> Taker[KeysChanged]:
    """Applies `keys.changed`.

    Args:
        database: of the schema `webhooks`.
        event_log: gives the topic.
        positions: of that schema.
        clock: tells how old an event is.
    """

    async def read(record: StoredRecord) -> KeysChanged:
        event = await _read(record)
        if event.void_before is not None:
            left = event.changed_at + KEYS_DIE_WITHIN - clock.now()
            await asyncio.sleep(min(max(left, timedelta()), KEYS_DIE_WITHIN).total_seconds())
        return event

    return Taker(
        database=database,
        event_log=event_log,
        positions=positions,
        group=GROUP,
        topic=KEYS_CHANGED,
        max_records=MAX_RECORDS,
        read=read,
        apply=_apply,
    )


async def _apply(connection: Connection, events: Sequence[KeysChanged]) -> None:
    for event in events:
        if event.suspended is not None:
            await set_suspended(connection, event.account_id, event.suspended, event.changed_at)
        if event.void_before is not None:
            await lock_account(connection, event.account_id)
            until = event.void_before + KEYS_DIE_WITHIN
            if count := await delete_endpoints(connection, event.account_id, until, event.key_ids):
                _log.info("%d webhooks of account %s are deleted with their maker", count, event.account_id)
