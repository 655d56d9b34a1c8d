"""Write down that a webhook was disabled, and write a mail about it to the address of its account.

Both are noted down in the transaction of the consumer's position; the mail is sent as every other one.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from services.auth.audit import Actor, record_audit
from services.auth.store.accounts import find_email_key
from services.auth.store.mails import Notice, insert_notice
from shared.clock import Clock, rfc3339
from shared.contracts.topics import WEBHOOKS_DISABLED
from shared.contracts.webhooks import DisabledReason, WebhookDisabled
from shared.event_log.port import EventLog
from shared.event_log.positions import PostgresPositions
from shared.event_log.take import Taker, read_events
from shared.postgres import Connection, Database

GROUP: Final = "auth-mails"
MAX_RECORDS: Final = 100

_WHY: Final[dict[DisabledReason, str]] = {
    "gone": "it answered 410, which says that it is gone",
    "failing": "every attempt of the last five days failed",
}


def build_notices(
    database: Database, event_log: EventLog, positions: PostgresPositions, clock: Clock
) -> Taker[WebhookDisabled]:
    """Notes an entry of the audit log and a mail for each event of `webhooks.disabled`.

    Args:
        database: of the schema `auth`.
        event_log: gives the topic.
        positions: of that schema.
        clock: tells when the mails are due: now.
    """

    async def apply(connection: Connection, events: Sequence[WebhookDisabled]) -> None:
        for event in events:
            await record_audit(
                connection,
                Actor("system"),
                "webhook.disabled",
                account_id=event.account_id,
                at=event.disabled_at,
                target_id=event.webhook_id,
                before={"status": "enabled"},
                after={"status": "disabled", "reason": event.reason, "host": event.host},
                entry_id=event.event_id,
            )
            email_key = await find_email_key(connection, event.account_id)
            if email_key is not None:
                await insert_notice(connection, _notice_of(event, email_key, clock.now()))

    return Taker(
        database=database,
        event_log=event_log,
        positions=positions,
        group=GROUP,
        topic=WEBHOOKS_DISABLED,
        max_records=MAX_RECORDS,
        read=read_events(WebhookDisabled),
        apply=apply,
    )


def _notice_of(event: WebhookDisabled, email_key: str, at: datetime) -> Notice:
    facts = {
        "host": event.host,
        "why": _WHY[event.reason],
        "webhook_id": str(event.webhook_id),
        "disabled_at": rfc3339(event.disabled_at),
    }
    return Notice(event.event_id, "webhook_disabled", email_key, facts, at)
