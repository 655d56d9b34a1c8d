"""Note down who did what to an endpoint, for the audit log, which auth keeps.

The event is written in the transaction of the change, so that neither is without the other. A deliverer
brings it to the event log: the service itself needs none.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from services.webhooks.store.endpoints import Endpoint
from shared.contracts.keys import Principal
from shared.contracts.topics import WEBHOOKS_CHANGED
from shared.contracts.webhooks import WebhookAction, WebhookChanged
from shared.event_log.outbox import OutboxEvent, insert_event
from shared.ids import uuid7
from shared.postgres import Connection

SCHEMA: Final = "webhooks"
_MAX_CLIENT_CHARS: Final = 255
_encoder: Final = msgspec.json.Encoder()


class Caller(NamedTuple):
    """Who does something to endpoints of an account, and from where."""

    principal: Principal
    client: str | None

    @property
    def account_id(self) -> UUID:
        """Whose endpoints."""
        return self.principal.account_id


def facts_of(endpoint: Endpoint) -> dict[str, Any]:
    """What can be changed of an endpoint, without what may be a secret: of its URL the host."""
    return {
        "host": urlsplit(endpoint.url).hostname,
        "events": list(endpoint.events),
        "description": endpoint.description,
        "status": endpoint.status,
    }


def difference(before: Endpoint, after: Endpoint) -> tuple[dict[str, Any], dict[str, Any]]:
    """What changed, as it was and as it is. The host is there with any change of the URL."""
    was, now = facts_of(before), facts_of(after)
    names = [name for name in was if was[name] != now[name] or (name == "host" and before.url != after.url)]
    return {name: was[name] for name in names}, {name: now[name] for name in names}


async def note_change(
    connection: Connection,
    by: Caller,
    action: WebhookAction,
    endpoint_id: UUID,
    *,
    at: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write the event of a change into the outbox, in the transaction of the change."""
    event = WebhookChanged(
        event_id=uuid7(),
        account_id=by.account_id,
        webhook_id=endpoint_id,
        action=action,
        actor=by.principal.kind,
        actor_id=by.principal.key_id,
        client=None if by.client is None else by.client[:_MAX_CLIENT_CHARS],
        before=None if before is None else dict(before),
        after=None if after is None else dict(after),
        changed_at=at,
    )
    key = str(by.account_id).encode()
    await insert_event(
        connection, SCHEMA, OutboxEvent(event.event_id, WEBHOOKS_CHANGED, key, _encoder.encode(event), at)
    )
