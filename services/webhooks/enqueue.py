"""Put messages on their way to every endpoint that wants them."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from services.webhooks.store.endpoints import has_subscribers
from services.webhooks.store.messages import Message, insert_message
from shared.postgres import Connection
from shared.telemetry.metrics import WEBHOOK_DELIVERIES


async def enqueue(
    connection: Connection, messages: Iterable[Message], *, at: datetime, account_id: UUID | None = None
) -> None:
    """Have messages delivered, to endpoints of one account or of all; one that nobody wants is not stored.

    A message of the same id goes to no endpoint twice.
    """
    for message in messages:
        if await has_subscribers(connection, [message.type], message.happened_at, account_id):
            count = await insert_message(connection, message, at=at, account_id=account_id)
            WEBHOOK_DELIVERIES.labels(message.type).inc(count)
