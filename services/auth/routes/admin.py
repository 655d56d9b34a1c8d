"""What an operator does with accounts."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, get, patch
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter, RawBody

from services.auth.admin import AccountAdmin
from services.auth.audit import actor_of
from services.auth.messages import MAX_PAGE, AccountChange, AccountPage, AccountView
from services.auth.routes.answers import NO_STORE, FromGateway
from shared.contracts.keys import SCOPE_OPERATOR
from shared.web.bodies import read_body
from shared.web.caller import client_of
from shared.web.openapi import describe_body, describe_problems
from shared.web.principal import require_scope


def build_admin_routes(admin: AccountAdmin) -> list[HTTPRouteHandler]:
    """The operator's handlers."""

    @get(
        "/api/v1/admin/accounts",
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 403, 422, 429, 503),
        summary="Find accounts",
        tags=["operator"],
    )
    async def get_accounts(
        principal: FromGateway,
        email: Annotated[str | None, QueryParameter(description="only the account of this address")] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 50,
        cursor: Annotated[UUID | None, QueryParameter(description="`next` of the page before")] = None,
    ) -> AccountPage:
        require_scope(principal, SCOPE_OPERATOR)
        return await admin.find(email=email, limit=limit, cursor=cursor)

    @get(
        "/api/v1/admin/accounts/{account_id:uuid}",
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 403, 404, 429, 503),
        summary="One account",
        tags=["operator"],
    )
    async def get_account(principal: FromGateway, account_id: FromPath[UUID]) -> AccountView:
        require_scope(principal, SCOPE_OPERATOR)
        return await admin.get(account_id)

    @patch(
        "/api/v1/admin/accounts/{account_id:uuid}",
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 403, 404, 409, 413, 422, 429, 503),
        operation_class=describe_body(AccountChange),
        summary="Set an account's tier or own limits, or suspend it",
        tags=["operator"],
    )
    async def patch_account(
        request: Request[Any, Any, Any], principal: FromGateway, account_id: FromPath[UUID], body: RawBody
    ) -> AccountView:
        require_scope(principal, SCOPE_OPERATOR)
        by = actor_of(principal, client_of(request))
        return await admin.change(account_id, read_body(body, AccountChange), by)

    return [get_accounts, get_account, patch_account]
