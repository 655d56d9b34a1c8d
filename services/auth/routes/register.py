"""Opening accounts."""

from typing import Any

from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import RawBody

from services.auth.messages import AccountWithKey, CliRegistered, CliRegisterRequest, RegisterRequest
from services.auth.register import MEANING, Registration
from services.auth.routes.answers import NO_STORE
from shared.web.bodies import read_body
from shared.web.caller import client_of
from shared.web.openapi import describe_body, describe_problems


def build_register_routes(registration: Registration, public_url: str) -> list[HTTPRouteHandler]:
    """The handlers of registering; `public_url` is where people reach this deployment."""

    @post(
        "/api/v1/register",
        status_code=201,
        cache_control=NO_STORE,
        responses=describe_problems(400, 409, 413, 422, 429, 503),
        operation_class=describe_body(RegisterRequest),
        summary="Open an account",
        tags=["accounts"],
    )
    async def post_register(request: Request[Any, Any, Any], body: RawBody) -> AccountWithKey:
        data = read_body(body, RegisterRequest, MEANING)
        made = await registration.register(
            email=data.email,
            password=data.password,
            organization=data.organization,
            client=client_of(request),
        )
        return AccountWithKey.of(made.account, made.api_key)

    @post(
        "/api/v1/cli/register",
        status_code=201,
        cache_control=NO_STORE,
        responses=describe_problems(400, 409, 413, 422, 429, 503),
        operation_class=describe_body(CliRegisterRequest),
        summary="Open an account from the llmring command line",
        tags=["accounts"],
    )
    async def post_cli_register(request: Request[Any, Any, Any], body: RawBody) -> CliRegistered:
        data = read_body(body, CliRegisterRequest, MEANING)
        made = await registration.register_from_cli(
            email=data.email,
            organization=data.organization,
            project_name=data.project_name,
            accept_terms=data.accept_terms,
            client=client_of(request),
        )
        return CliRegistered(api_key=made.api_key, dashboard_url=f"{public_url.rstrip('/')}/docs")

    return [post_register, post_cli_register]
