"""The delivery log: `/api/v1/webhooks/{endpoint_id}/deliveries`."""

from typing import Annotated
from uuid import UUID

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from services.webhooks.deliveries import DeliveryLog
from services.webhooks.messages import MAX_PAGE, DeliveryPage, DeliveryStatus, Queued
from services.webhooks.routes.endpoints import TAGS, AnyRequest, FromGateway, caller_of
from shared.contracts.keys import SCOPE_READ
from shared.web.openapi import describe_problems
from shared.web.principal import require_scope

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str | None, QueryParameter(description="`next` of the page before", max_length=200)]
Status = Annotated[DeliveryStatus | None, QueryParameter(description="only deliveries of this status")]


def build_delivery_routes(log: DeliveryLog) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get(
        "/api/v1/webhooks/{endpoint_id:uuid}/deliveries",
        responses=describe_problems(401, 403, 404, 422, 429, 503),
        summary="What was sent to a webhook, and what came of it",
        tags=TAGS,
    )
    async def list_webhook_deliveries(
        principal: FromGateway,
        endpoint_id: FromPath[UUID],
        *,
        status: Status = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> DeliveryPage:
        require_scope(principal, SCOPE_READ)
        return await log.read(principal.account_id, endpoint_id, status=status, cursor=cursor, limit=limit)

    @post(
        "/api/v1/webhooks/{endpoint_id:uuid}/deliveries/{message_id:uuid}/redeliver",
        status_code=202,
        responses=describe_problems(401, 403, 404, 409, 429, 503),
        summary="Deliver a message once more",
        tags=TAGS,
    )
    async def redeliver_message(
        request: AnyRequest,
        principal: FromGateway,
        endpoint_id: FromPath[UUID],
        message_id: FromPath[UUID],
    ) -> Queued:
        return await log.redeliver(caller_of(principal, request), endpoint_id, message_id)

    return [list_webhook_deliveries, redeliver_message]
