"""Disable an endpoint that takes nothing any more, and say so."""

import logging
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from services.webhooks.enqueue import enqueue
from services.webhooks.events import WEBHOOK_DISABLED, name_message, write_message
from services.webhooks.store.deliveries import fail_pending
from services.webhooks.store.endpoints import disable_endpoint
from shared.clock import rfc3339
from shared.contracts import topics
from shared.contracts.webhooks import DisabledReason, WebhookDisabled
from shared.event_log.port import EventLog, Record
from shared.postgres import Connection
from shared.telemetry.metrics import WEBHOOKS_DISABLED

_log: Final = logging.getLogger(__name__)


async def disable(
    connection: Connection,
    event_log: EventLog,
    account_id: UUID,
    endpoint_id: UUID,
    *,
    reason: DisabledReason,
    at: datetime,
) -> None:
    """Disable an endpoint, give up what is on its way, and tell the account's other endpoints that want it.

    Does nothing where it is disabled already, or deleted. It belongs into the transaction of the attempt. The
    event goes out before the commit, so that none is missing; where that fails, the next attempt comes here.

    Raises:
        UnavailableError: the database or the event log is away.
    """
    url = await disable_endpoint(connection, account_id, endpoint_id, reason=reason, at=at)
    if url is None:
        return
    await fail_pending(connection, account_id, endpoint_id)
    message_id = name_message("disabled", endpoint_id, at.isoformat())
    message = write_message(
        message_id,
        WEBHOOK_DISABLED,
        at,
        {"webhook_id": endpoint_id, "url": url, "reason": reason, "disabled_at": rfc3339(at)},
    )
    await enqueue(connection, [message._replace(account_id=account_id)], at=at)
    event = WebhookDisabled(
        event_id=message_id,
        account_id=account_id,
        webhook_id=endpoint_id,
        host=urlsplit(url).hostname or "",
        reason=reason,
        disabled_at=at,
    )
    await event_log.append(
        topics.WEBHOOKS_DISABLED, [Record(str(account_id).encode(), msgspec.json.encode(event))]
    )
    WEBHOOKS_DISABLED.labels(reason).inc()
    _log.warning("webhook %s of account %s is disabled: %s", endpoint_id, account_id, reason)
