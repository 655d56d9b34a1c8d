"""The delivery log of an endpoint, and messages that are to be delivered once more."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from services.webhooks.endpoints import require_enabled, require_endpoint
from services.webhooks.messages import AttemptView, DeliveryPage, DeliveryStatus, DeliveryView, Queued
from services.webhooks.note_change import Caller, note_change
from services.webhooks.store.deliveries import deliver_again
from services.webhooks.store.endpoints import find_endpoint, lock_account
from services.webhooks.store.log import Delivery, Place, find_message_type, list_attempts, list_deliveries
from shared.clock import Clock
from shared.errors import InvalidFieldError, NotFoundError
from shared.postgres import Database

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class DeliveryLog:
    """Deliveries to endpoints of any account. Who may see them is decided before.

    Args:
        database: of the schema `webhooks`.
        clock: tells when a message is to be delivered once more: now.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def read(
        self,
        account_id: UUID,
        endpoint_id: UUID,
        *,
        status: DeliveryStatus | None,
        cursor: str | None,
        limit: int,
    ) -> DeliveryPage:
        """A page of deliveries with their attempts, newest first.

        Raises:
            InvalidFieldError: the cursor is not one of ours.
            NotFoundError: the account has no such endpoint.
            UnavailableError: the database is away.
        """
        before = None if cursor is None else _read_cursor(cursor)
        async with self._database.connection() as connection:
            require_endpoint(await find_endpoint(connection, account_id, endpoint_id, self._clock.now()))
            found = await list_deliveries(
                connection, account_id, endpoint_id, status=status, before=before, limit=limit + 1
            )
            page = found[:limit]
            attempts = await list_attempts(
                connection, account_id, endpoint_id, [each.message_id for each in page]
            )
        return DeliveryPage(
            deliveries=[
                DeliveryView(
                    message_id=each.message_id,
                    type=each.type,
                    status=msgspec.convert(each.status, DeliveryStatus),
                    created_at=each.created_at,
                    next_attempt_at=each.next_attempt_at,
                    attempts=[
                        AttemptView(
                            at=attempt.attempted_at,
                            duration_ms=attempt.duration_ms,
                            http_status=attempt.http_status,
                            error=attempt.error,
                            response=attempt.response,
                        )
                        for attempt in attempts[each.message_id]
                    ],
                )
                for each in page
            ],
            next=_write_cursor(page[-1]) if len(found) > limit else None,
        )

    async def redeliver(self, by: Caller, endpoint_id: UUID, message_id: UUID) -> Queued:
        """Have a message delivered once more, with the same id, whatever became of it.

        Raises:
            NotFoundError: the account has no such endpoint, or no such message went there.
            ConflictError: the endpoint is disabled.
            UnavailableError: the database is away.
        """
        account_id = by.account_id
        async with self._database.transaction() as connection:
            await lock_account(connection, account_id)
            now = self._clock.now()
            require_enabled(require_endpoint(await find_endpoint(connection, account_id, endpoint_id, now)))
            event = await find_message_type(connection, account_id, endpoint_id, message_id)
            if event is None:
                raise NotFoundError("No such message went to this webhook.")
            await deliver_again(connection, account_id, endpoint_id, message_id, now)
            after = {"message_id": message_id, "type": event}
            await note_change(connection, by, "webhook.redelivered", endpoint_id, at=now, after=after)
        return Queued(message_id=message_id, type=event)


def _write_cursor(delivery: Delivery) -> str:
    text = f"{(delivery.created_at - _EPOCH) // _MICROSECOND}.{delivery.message_id.hex}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> Place:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        microseconds, message_id = text.split(".")
        return Place(_EPOCH + int(microseconds) * _MICROSECOND, UUID(message_id))
    except (ValueError, OverflowError, binascii.Error):
        raise InvalidFieldError.of("cursor", "is not one that this API gave out.") from None
