"""Webhooks on the wire: the events `webhooks.changed` and `webhooks.disabled`."""

from typing import Any, Literal
from uuid import UUID

import msgspec

from shared.contracts.keys import CallerKind
from shared.contracts.usage import Instant

WebhookAction = Literal[
    "webhook.created",
    "webhook.changed",
    "webhook.secret_rotated",
    "webhook.deleted",
    "webhook.redelivered",
    "webhook.disabled",
]
"""What is done to webhooks, as the audit log names it. `webhook.disabled` the system does by itself."""


class WebhookChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Event `webhooks.changed`: somebody did something to a webhook.

    Attributes:
        action: what.
        actor: what they came by.
        actor_id: the key, or the session.
        client: the address that the request came from.
        before: what it was, as far as it changed; None where it is new. Never a secret: of its URL the host.
        after: what it is now, likewise; None where it is gone.
    """

    v: int = 1
    event_id: UUID
    account_id: UUID
    webhook_id: UUID
    action: WebhookAction
    actor: CallerKind
    actor_id: UUID
    client: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    changed_at: Instant


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
