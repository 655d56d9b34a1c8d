"""Logging in."""

from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import RawBody

from services.auth.login import Login
from services.auth.messages import AccountWithKey, LoginRequest
from services.auth.routes.answers import NO_STORE
from services.auth.routes.cookies import SessionCookie
from shared.web.bodies import read_body
from shared.web.caller import client_of
from shared.web.openapi import describe_body, describe_problems


def build_login_route(login: Login, cookie: SessionCookie) -> HTTPRouteHandler:
    """The handler of logins."""

    @post(
        "/api/v1/login",
        status_code=200,
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 413, 422, 429, 503),
        operation_class=describe_body(LoginRequest),
        summary="Log in: a session, and a new key",
        tags=["accounts"],
    )
    async def post_login(request: Request[Any, Any, Any], body: RawBody) -> Response[AccountWithKey]:
        data = read_body(body, LoginRequest)
        made = await login.log_in(email=data.email, password=data.password, client=client_of(request))
        return Response(AccountWithKey.of(made.account, made.api_key), headers=cookie.to_set(made.session))

    return post_login
