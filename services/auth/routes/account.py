"""The account as it sees itself, and what other services ask of accounts."""

from typing import Any

from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import RawBody

from services.auth.overview import AccountOverview, Overviews
from services.auth.own_keys import OwnKeys
from services.auth.retention import RetentionRules
from services.auth.routes.answers import NO_STORE, FromGateway
from shared.contracts.accounts import RETENTION_PATH, RetentionAnswer, RetentionQuestion
from shared.contracts.keys import OWNED_PATH, SCOPE_ADMIN, SCOPE_READ, OwnedKeys, OwnedQuestion
from shared.web.asgi import find_header
from shared.web.bodies import read_body
from shared.web.openapi import describe_problems
from shared.web.principal import PRINCIPAL_HEADER, require_scope


def build_account_routes(
    overviews: Overviews, rules: RetentionRules, own_keys: OwnKeys
) -> list[HTTPRouteHandler]:
    """The handlers."""

    @get(
        "/api/v1/account",
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 403, 429, 503),
        summary="The account: its limits, and what it has used of the month",
        tags=["accounts"],
    )
    async def get_account(request: Request[Any, Any, Any], principal: FromGateway) -> AccountOverview:
        if SCOPE_ADMIN not in principal.scopes:
            require_scope(principal, SCOPE_READ)
        token = find_header(request.scope["headers"], PRINCIPAL_HEADER) or b""
        return await overviews.show(principal, token)

    # Without a principal: nobody is behind it. Who does not know an account's id learns nothing by it, and
    # the gateway has no route to it.
    @post(RETENTION_PATH, status_code=200, cache_control=NO_STORE, include_in_schema=False)
    async def post_retention(body: RawBody) -> RetentionAnswer:
        return RetentionAnswer(await rules.list(read_body(body, RetentionQuestion).account_ids))

    @post(OWNED_PATH, status_code=200, cache_control=NO_STORE, include_in_schema=False)
    async def post_owned(body: RawBody) -> OwnedKeys:
        question = read_body(body, OwnedQuestion)
        return OwnedKeys(await own_keys.list(question.account_id, question.key_ids))

    return [get_account, post_retention, post_owned]
