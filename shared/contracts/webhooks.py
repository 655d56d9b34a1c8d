"""Webhooks on the wire: the event `webhooks.disabled`."""

from typing import Literal
from uuid import UUID

import msgspec

from shared.contracts.usage import Instant

DisabledReason = Literal["gone", "failing"]
"""`gone`: it answered 410. `failing`: every attempt of days failed."""


class WebhookDisabled(msgspec.Struct, frozen=True, kw_only=True):
    """Event `webhooks.disabled`: a webhook took nothing any more, and is sent nothing until it is enabled.

    Attributes:
        event_id: derives from the webhook and the instant.
        host: of its URL; the rest of that may be a secret.
    """

    v: int = 1
    event_id: UUID
    account_id: UUID
    webhook_id: UUID
    host: str
    reason: DisabledReason
    disabled_at: Instant
