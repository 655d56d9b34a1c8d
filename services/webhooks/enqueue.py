"""Put messages on their way to every endpoint that wants them."""

from collections.abc import Iterable
from datetime import datetime

from services.webhooks.store.endpoints import has_subscribers
from services.webhooks.store.messages import Message, insert_message
from shared.postgres import Connection
from shared.telemetry.metrics import WEBHOOK_DELIVERIES


async def enqueue(connection: Connection, messages: Iterable[Message], *, at: datetime) -> None:
    """Have messages delivered; one that nobody wants is not stored.

    A message of the same id goes to no endpoint twice.
    """
    for message in messages:
        if await has_subscribers(connection, [message.type], message.happened_at, message.account_id):
            count = await insert_message(connection, message, at=at)
            WEBHOOK_DELIVERIES.labels(message.type).inc(count)
