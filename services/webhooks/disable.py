"""Disable an endpoint that takes nothing any more, and say so."""

import logging
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from services.webhooks.enqueue import enqueue
from services.webhooks.events import WEBHOOK_DISABLED, name_message, write_message
from services.webhooks.store.deliveries import fail_pending
from services.webhooks.store.endpoints import disable_endpoint
from shared.clock import rfc3339
from shared.postgres import Connection
from shared.telemetry.metrics import WEBHOOKS_DISABLED

Reason = Literal["gone", "failing"]
"""`gone`: it answered 410. `failing`: every attempt of days failed."""

_log: Final = logging.getLogger(__name__)


async def disable(
    connection: Connection, account_id: UUID, endpoint_id: UUID, reason: Reason, at: datetime
) -> None:
    """Disable an endpoint, give up what is on its way, and tell the account's other endpoints that want it.

    Does nothing where it is disabled already, or deleted. It belongs into the transaction of the attempt.
    """
    url = await disable_endpoint(connection, account_id, endpoint_id, reason=reason, at=at)
    if url is None:
        return
    await fail_pending(connection, account_id, endpoint_id)
    message = write_message(
        name_message("disabled", endpoint_id, at.isoformat()),
        WEBHOOK_DISABLED,
        at,
        {"webhook_id": endpoint_id, "url": url, "reason": reason, "disabled_at": rfc3339(at)},
    )
    await enqueue(connection, [message._replace(account_id=account_id)], at=at)
    WEBHOOKS_DISABLED.labels(reason).inc()
    _log.warning("webhook %s of account %s is disabled: %s", endpoint_id, account_id, reason)
