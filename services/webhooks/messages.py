"""What travels over the paths of webhooks: msgspec Structs and nothing else."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from services.webhooks.events import EVENTS
from services.webhooks.store.endpoints import EndpointStatus
from shared.web.addresses import MAX_URL_LENGTH

MAX_PAGE: Final = 100

# The length is checked with everything else about a URL; names of events by hand, to tell the known ones.
Url = Annotated[
    str,
    msgspec.Meta(extra_json_schema={"format": "uri", "pattern": "^https?://", "maxLength": MAX_URL_LENGTH}),
]
Events = Annotated[
    list[Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(EVENTS)})]],
    msgspec.Meta(min_length=1, max_length=100),
]
Description = Annotated[str, msgspec.Meta(max_length=255)]
DeliveryStatus = Literal["pending", "delivered", "failed"]


class EndpointRequest(msgspec.Struct, kw_only=True):
    """`POST /api/v1/webhooks`."""

    url: Url
    events: Events
    description: Description | None = None


class EndpointChange(msgspec.Struct, kw_only=True):
    """`PATCH /api/v1/webhooks/{endpoint_id}`: what is absent stays as it is."""

    url: Url | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    status: EndpointStatus | UnsetType = UNSET


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as its owner sees it.

    Attributes:
        disabled_reason: why the system disabled it: `gone` or `failing`; null where its owner did.
        failing_since: since when every attempt has failed; null where the last one succeeded.
        previous_secret_until: until when the secret before signs as well; null where it does not.
    """

    id: UUID
    url: str
    events: list[str]
    description: str | None
    status: EndpointStatus
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    previous_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime


class NewEndpoint(EndpointView, frozen=True, kw_only=True):
    """A new endpoint. Its secret cannot be shown again."""

    secret: str

    def __repr__(self) -> str:
        return f"NewEndpoint(id={self.id})"  # the secret never reaches a log or a traceback


class EndpointList(msgspec.Struct, frozen=True):
    """All endpoints of an account, oldest first."""

    webhooks: list[EndpointView]


class NewSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that took the place of another one. It cannot be shown again."""

    id: UUID
    secret: str
    previous_secret_until: datetime

    def __repr__(self) -> str:
        return f"NewSecret(id={self.id})"  # the secret never reaches a log or a traceback


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is on its way; the delivery log tells what becomes of it."""

    message_id: UUID
    type: str


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to deliver a message.

    Attributes:
        http_status: null where there was no answer.
        error: why there was none.
        response: the beginning of what was answered.
    """

    at: datetime
    duration_ms: int
    http_status: int | None
    error: str | None
    response: str | None


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """A message and its way to an endpoint.

    Attributes:
        status: `pending`, `delivered`, or `failed`: given up, until somebody asks for it again.
        next_attempt_at: null where there will be none.
        attempts: oldest first.
    """

    message_id: UUID
    type: str
    status: DeliveryStatus
    created_at: datetime
    next_attempt_at: datetime | None
    attempts: list[AttemptView]


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries, newest first; `next` is the `cursor` of the following page, or null on the last one."""

    deliveries: list[DeliveryView]
    next: str | None
