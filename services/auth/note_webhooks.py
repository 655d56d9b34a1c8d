"""Write down in the audit log what was done to webhooks, as the service of webhooks tells it.

An entry has the id of its event, so what is told twice is written down once.
"""

from collections.abc import Sequence
from typing import Final

from services.auth.audit import caller, record_audit
from shared.contracts.topics import WEBHOOKS_CHANGED
from shared.contracts.webhooks import WebhookChanged
from shared.event_log.port import EventLog, StoredRecord
from shared.event_log.positions import PostgresPositions
from shared.event_log.take import Taker, read_events
from shared.postgres import Connection, Database

GROUP: Final = "auth-audit"
MAX_RECORDS: Final = 100

_read = read_events(WebhookChanged)


def build_webhook_audit(
    database: Database, event_log: EventLog, positions: PostgresPositions
) -> Taker[WebhookChanged]:
    """Adds an entry for each event of `webhooks.changed`.

    Args:
        database: of the schema `auth`.
        event_log: gives the topic.
        positions: of that schema.
    """
    return Taker(
        database=database,
        event_log=event_log,
        positions=positions,
        group=GROUP,
        topic=WEBHOOKS_CHANGED,
        max_records=MAX_RECORDS,
        read=_read_storable,
        apply=_apply,
    )


async def _read_storable(record: StoredRecord) -> WebhookChanged:
    # A text may well say \u0000: then the backslash is doubled, and nothing of it is an escape.
    if b"\\u0000" in (record.value or b"").replace(rb"\\", b""):
        raise ValueError("contains NUL")
    return await _read(record)


async def _apply(connection: Connection, events: Sequence[WebhookChanged]) -> None:
    for event in events:
        await record_audit(
            connection,
            caller(event.actor, event.account_id, event.actor_id, event.client),
            event.action,
            account_id=event.account_id,
            at=event.changed_at,
            target_id=event.webhook_id,
            before=event.before,
            after=event.after,
            entry_id=event.event_id,
        )
