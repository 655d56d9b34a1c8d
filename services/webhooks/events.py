"""What can be told, and the messages that tell it."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec

from services.webhooks.store.messages import Message
from shared.clock import rfc3339

REGISTRY_EVENTS: Final = (
    "model.added",
    "model.removed",
    "model.deprecated",
    "model.reactivated",
    "price.changed",
    "capability.changed",
    "limit.changed",
)
"""Those of the registry's changelog that can be told; all accounts see the same registry."""

BUDGET_THRESHOLD: Final = "budget.threshold"
WEBHOOK_DISABLED: Final = "webhook.disabled"
WEBHOOK_TEST: Final = "webhook.test"

EVENTS: Final = (*REGISTRY_EVENTS, BUDGET_THRESHOLD, WEBHOOK_DISABLED)
"""What an endpoint can want. `webhook.test` goes to an endpoint on request alone, whatever it wants."""

_MESSAGES: Final = UUID("3b0c5a52-6b0f-5d0e-9c35-8f7a1d2b94e6")
_encoder: Final = msgspec.json.Encoder()


class _Body(msgspec.Struct):
    """The body of a message (Standard Webhooks 1.0, "Payload structure")."""

    type: str
    timestamp: str
    data: Any


def name_message(*parts: object) -> UUID:
    """The id of the message that tells of something: the same whenever it is told."""
    return uuid5(_MESSAGES, "/".join(str(part) for part in parts))


def write_message(message_id: UUID, event: str, happened_at: datetime, data: Any) -> Message:  # noqa: ANN401 - any JSON value
    """A message as it is sent and signed, to everybody's endpoints."""
    body = _encoder.encode(_Body(event, rfc3339(happened_at), data))
    return Message(message_id, event, body, happened_at)
