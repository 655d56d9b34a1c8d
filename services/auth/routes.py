"""Auth's HTTP paths: each handler reads the request, asks one use case and writes the answer."""

from collections.abc import Sequence
from typing import Annotated, TypeAlias
from uuid import UUID

from litestar import get, patch, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, RawBody
from litestar.types import ControllerRouterHandler

from services.auth.admin import AccountAdmin
from services.auth.messages import (
    MAX_PAGE,
    AccountChange,
    AccountPage,
    AccountView,
    CliRegistered,
    CliRegisterRequest,
    Registered,
    RegisterRequest,
)
from services.auth.register import Registration
from services.auth.tiers import TIERS
from services.auth.verify import KeyVerification
from shared.contracts.keys import SCOPE_GATEWAY, SCOPE_OPERATOR, KeyLookup, Principal, Verification
from shared.web.bodies import read_body
from shared.web.openapi import describe_body, describe_problems
from shared.web.principal import require_scope

VERIFY_PATH = "/internal/keys/verify"

_NO_STORE = CacheControlHeader(no_store=True)
"""Answers with a key in them must not lie about in anybody's cache."""

FromGateway: TypeAlias = NamedDependency[Principal]
"""Who is calling, by the gateway's token; without one the answer is 401."""


def build_routes(
    registration: Registration, verification: KeyVerification, admin: AccountAdmin, public_url: str
) -> Sequence[ControllerRouterHandler]:
    """The service's route handlers."""
    return [
        *_build_register_routes(registration, public_url),
        *_build_admin_routes(admin),
        _build_verify_route(verification),
    ]


def _build_register_routes(registration: Registration, public_url: str) -> Sequence[ControllerRouterHandler]:
    @post(
        "/api/v1/register",
        status_code=201,
        cache_control=_NO_STORE,
        responses=describe_problems(400, 409, 413, 422, 429, 503),
        operation_class=describe_body(RegisterRequest),
        summary="Open an account",
        tags=["accounts"],
    )
    async def post_register(body: RawBody) -> Registered:
        data = read_body(body, RegisterRequest)
        made = await registration.register(
            email=data.email, password=data.password, organization=data.organization
        )
        return Registered(
            api_key=made.api_key,
            account_id=made.account.account_id,
            email=made.account.email,
            organization=made.account.organization,
            tier=TIERS[made.account.tier],
        )

    @post(
        "/api/v1/cli/register",
        status_code=201,
        cache_control=_NO_STORE,
        responses=describe_problems(400, 409, 413, 422, 429, 503),
        operation_class=describe_body(CliRegisterRequest),
        summary="Open an account from the llmring command line",
        tags=["accounts"],
    )
    async def post_cli_register(body: RawBody) -> CliRegistered:
        data = read_body(body, CliRegisterRequest)
        made = await registration.register_from_cli(
            email=data.email,
            organization=data.organization,
            project_name=data.project_name,
            accept_terms=data.accept_terms,
        )
        return CliRegistered(api_key=made.api_key, dashboard_url=f"{public_url.rstrip('/')}/docs")

    return [post_register, post_cli_register]


def _build_admin_routes(admin: AccountAdmin) -> Sequence[ControllerRouterHandler]:
    @get(
        "/api/v1/admin/accounts",
        cache_control=_NO_STORE,
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
        cache_control=_NO_STORE,
        responses=describe_problems(400, 401, 403, 404, 429, 503),
        summary="One account",
        tags=["operator"],
    )
    async def get_account(principal: FromGateway, account_id: FromPath[UUID]) -> AccountView:
        require_scope(principal, SCOPE_OPERATOR)
        return await admin.get(account_id)

    @patch(
        "/api/v1/admin/accounts/{account_id:uuid}",
        cache_control=_NO_STORE,
        responses=describe_problems(400, 401, 403, 404, 409, 413, 422, 429, 503),
        operation_class=describe_body(AccountChange),
        summary="Set an account's tier or own limits, or suspend it",
        tags=["operator"],
    )
    async def patch_account(principal: FromGateway, account_id: FromPath[UUID], body: RawBody) -> AccountView:
        require_scope(principal, SCOPE_OPERATOR)
        return await admin.change(account_id, read_body(body, AccountChange))

    return [get_accounts, get_account, patch_account]


def _build_verify_route(verification: KeyVerification) -> ControllerRouterHandler:
    # The gateway has no route to this path, and a key's principal never has the gateway's scope.
    @post(VERIFY_PATH, status_code=200, cache_control=_NO_STORE, include_in_schema=False)
    async def post_verify(principal: FromGateway, body: RawBody) -> Verification:
        require_scope(principal, SCOPE_GATEWAY)
        return await verification.verify(read_body(body, KeyLookup))

    return post_verify
