"""An account's webhooks: `/api/v1/webhooks` and `/api/v1/webhooks/{endpoint_id}`."""

from typing import Any, Final, TypeAlias
from uuid import UUID

from litestar import Request, delete, get, patch, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, RawBody

from services.webhooks.endpoints import AccountEndpoints
from services.webhooks.messages import (
    EndpointChange,
    EndpointList,
    EndpointRequest,
    EndpointView,
    NewEndpoint,
    NewSecret,
    Queued,
)
from services.webhooks.note_change import Caller
from shared.contracts.keys import SCOPE_ADMIN, SCOPE_READ, Principal
from shared.web.bodies import read_body
from shared.web.caller import client_of
from shared.web.openapi import describe_body, describe_problems
from shared.web.principal import require_scope

NO_STORE: Final = CacheControlHeader(no_store=True)
"""Answers with a secret in them must not lie about in anybody's cache."""

FromGateway: TypeAlias = NamedDependency[Principal]
"""Who is calling, by the gateway's token; without one the answer is 401."""

AnyRequest: TypeAlias = Request[Any, Any, Any]

TAGS: Final = ["webhooks"]


def caller_of(principal: Principal, request: AnyRequest) -> Caller:
    """Whoever changes endpoints.

    Raises:
        ForbiddenError: the key does not have the scope for it.
    """
    require_scope(principal, SCOPE_ADMIN)
    return Caller(principal, client_of(request))


def build_endpoint_routes(endpoints: AccountEndpoints) -> list[HTTPRouteHandler]:
    """The handlers."""
    return [*_build_reading(endpoints), *_build_writing(endpoints)]


def _build_reading(endpoints: AccountEndpoints) -> list[HTTPRouteHandler]:
    @get(
        "/api/v1/webhooks",
        responses=describe_problems(401, 403, 429, 503),
        summary="The account's webhooks",
        tags=TAGS,
    )
    async def list_webhooks(principal: FromGateway) -> EndpointList:
        require_scope(principal, SCOPE_READ)
        return await endpoints.list(principal.account_id)

    @get(
        "/api/v1/webhooks/{endpoint_id:uuid}",
        responses=describe_problems(401, 403, 404, 429, 503),
        summary="One webhook",
        tags=TAGS,
    )
    async def get_webhook(principal: FromGateway, endpoint_id: FromPath[UUID]) -> EndpointView:
        require_scope(principal, SCOPE_READ)
        return await endpoints.get(principal.account_id, endpoint_id)

    return [list_webhooks, get_webhook]


def _build_writing(endpoints: AccountEndpoints) -> list[HTTPRouteHandler]:
    @post(
        "/api/v1/webhooks",
        status_code=201,
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 403, 409, 413, 422, 429, 503),
        operation_class=describe_body(EndpointRequest),
        summary="Register a webhook",
        tags=TAGS,
    )
    async def post_webhook(request: AnyRequest, principal: FromGateway, body: RawBody) -> NewEndpoint:
        return await endpoints.create(caller_of(principal, request), read_body(body, EndpointRequest))

    @patch(
        "/api/v1/webhooks/{endpoint_id:uuid}",
        responses=describe_problems(400, 401, 403, 404, 413, 422, 429, 503),
        operation_class=describe_body(EndpointChange),
        summary="Change a webhook, disable or enable it",
        tags=TAGS,
    )
    async def patch_webhook(
        request: AnyRequest, principal: FromGateway, endpoint_id: FromPath[UUID], body: RawBody
    ) -> EndpointView:
        by = caller_of(principal, request)
        return await endpoints.change(by, endpoint_id, read_body(body, EndpointChange))

    @delete(
        "/api/v1/webhooks/{endpoint_id:uuid}",
        status_code=204,
        responses=describe_problems(401, 403, 404, 429, 503),
        summary="Delete a webhook with its log",
        tags=TAGS,
    )
    async def delete_webhook(
        request: AnyRequest, principal: FromGateway, endpoint_id: FromPath[UUID]
    ) -> None:
        await endpoints.delete(caller_of(principal, request), endpoint_id)

    @post(
        "/api/v1/webhooks/{endpoint_id:uuid}/rotate-secret",
        status_code=200,
        cache_control=NO_STORE,
        responses=describe_problems(401, 403, 404, 429, 503),
        summary="Replace a webhook's secret; the old one signs as well for a day",
        tags=TAGS,
    )
    async def rotate_webhook_secret(
        request: AnyRequest, principal: FromGateway, endpoint_id: FromPath[UUID]
    ) -> NewSecret:
        return await endpoints.rotate(caller_of(principal, request), endpoint_id)

    @post(
        "/api/v1/webhooks/{endpoint_id:uuid}/test",
        status_code=202,
        responses=describe_problems(401, 403, 404, 409, 429, 503),
        summary="Send a webhook.test",
        tags=TAGS,
    )
    async def test_webhook(principal: FromGateway, endpoint_id: FromPath[UUID]) -> Queued:
        require_scope(principal, SCOPE_ADMIN)
        return await endpoints.test(principal.account_id, endpoint_id)

    return [post_webhook, patch_webhook, delete_webhook, rotate_webhook_secret, test_webhook]
