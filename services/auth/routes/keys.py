"""An account's API keys, for the account itself and for operators."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter, RawBody

from services.auth.audit import actor_of
from services.auth.key_messages import (
    MAX_KEY_PAGE,
    KeyChange,
    KeyPage,
    KeyRequest,
    KeyRotation,
    KeyView,
    NewKey,
)
from services.auth.keys import AccountKeys, Asking
from services.auth.routes.answers import NO_STORE, FromGateway
from shared.contracts.keys import SCOPE_ADMIN, SCOPE_OPERATOR, Principal
from shared.web.bodies import read_body
from shared.web.caller import client_of
from shared.web.openapi import describe_body, describe_problems
from shared.web.principal import require_scope

WithEnded = Annotated[bool, QueryParameter(description="those that have expired or are revoked as well")]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_KEY_PAGE)]
Cursor = Annotated[UUID | None, QueryParameter(description="`next` of the page before")]
AnyRequest = Request[Any, Any, Any]


def build_key_routes(keys: AccountKeys) -> list[HTTPRouteHandler]:
    """The handlers."""
    return [*_build_own(keys), *_build_for_operators(keys)]


def _build_own(keys: AccountKeys) -> list[HTTPRouteHandler]:
    @get(
        "/api/v1/keys",
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 403, 422, 429, 503),
        summary="The account's keys",
        tags=["accounts"],
    )
    async def get_keys(
        request: AnyRequest,
        principal: FromGateway,
        *,
        with_ended: WithEnded = False,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> KeyPage:
        asking = _asking(principal, request, SCOPE_ADMIN)
        return await keys.list(asking, with_ended=with_ended, limit=limit, cursor=cursor)

    @post(
        "/api/v1/keys",
        status_code=201,
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 403, 409, 413, 422, 429, 503),
        operation_class=describe_body(KeyRequest),
        summary="Make a key",
        tags=["accounts"],
    )
    async def post_key(request: AnyRequest, principal: FromGateway, body: RawBody) -> NewKey:
        return await keys.create(
            _asking(principal, request, SCOPE_ADMIN), read_body(body, KeyRequest, keys.meaning)
        )

    @patch(
        "/api/v1/keys/{key_id:uuid}",
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 403, 404, 409, 413, 422, 429, 503),
        operation_class=describe_body(KeyChange),
        summary="Change a key's name, scopes or expiry",
        tags=["accounts"],
    )
    async def patch_key(
        request: AnyRequest, principal: FromGateway, key_id: FromPath[UUID], body: RawBody
    ) -> KeyView:
        return await keys.change(
            _asking(principal, request, SCOPE_ADMIN), key_id, read_body(body, KeyChange, keys.meaning)
        )

    @post(
        "/api/v1/keys/{key_id:uuid}/rotate",
        status_code=201,
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 403, 404, 409, 413, 422, 429, 503),
        operation_class=describe_body(KeyRotation, required=False),
        summary="Replace a key by a new one; the old one goes on for a while",
        tags=["accounts"],
    )
    async def rotate_key(
        request: AnyRequest, principal: FromGateway, key_id: FromPath[UUID], body: RawBody
    ) -> NewKey:
        asking = _asking(principal, request, SCOPE_ADMIN)
        rotation = read_body(body or b"{}", KeyRotation)
        return await keys.rotate(asking, key_id, timedelta(seconds=rotation.grace_seconds))

    @delete(
        "/api/v1/keys/{key_id:uuid}",
        status_code=204,
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 403, 404, 429, 503),
        summary="Revoke a key",
        tags=["accounts"],
    )
    async def delete_key(request: AnyRequest, principal: FromGateway, key_id: FromPath[UUID]) -> None:
        # Whoever holds a key may give it up.
        scope = None if key_id == principal.key_id else SCOPE_ADMIN
        await keys.revoke(_asking(principal, request, scope), key_id)

    return [get_keys, post_key, patch_key, rotate_key, delete_key]


def _build_for_operators(keys: AccountKeys) -> list[HTTPRouteHandler]:
    @get(
        "/api/v1/admin/accounts/{account_id:uuid}/keys",
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 403, 404, 422, 429, 503),
        summary="An account's keys",
        tags=["operator"],
    )
    async def get_keys_of(
        request: AnyRequest,
        principal: FromGateway,
        account_id: FromPath[UUID],
        *,
        with_ended: WithEnded = False,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> KeyPage:
        asking = _asking(principal, request, SCOPE_OPERATOR, account_id)
        return await keys.list(asking, with_ended=with_ended, limit=limit, cursor=cursor)

    @delete(
        "/api/v1/admin/accounts/{account_id:uuid}/keys/{key_id:uuid}",
        status_code=204,
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 403, 404, 429, 503),
        summary="Revoke a key of any account",
        tags=["operator"],
    )
    async def delete_key_of(
        request: AnyRequest, principal: FromGateway, account_id: FromPath[UUID], key_id: FromPath[UUID]
    ) -> None:
        await keys.revoke(_asking(principal, request, SCOPE_OPERATOR, account_id), key_id)

    return [get_keys_of, delete_key_of]


def _asking(
    principal: Principal, request: AnyRequest, scope: str | None, account_id: UUID | None = None
) -> Asking:
    if scope is not None:
        require_scope(principal, scope)
    return Asking(account_id or principal.account_id, scope, actor_of(principal, client_of(request)))
