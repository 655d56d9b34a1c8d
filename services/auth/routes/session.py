"""What is for whoever is logged in: the gateway makes a principal of the session's cookie."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler

from services.auth.audit import actor_of
from services.auth.messages import Me, RegeneratedKey
from services.auth.profile import Profile
from services.auth.routes.answers import NO_STORE, FromGateway
from services.auth.routes.cookies import SessionCookie
from services.auth.sessions import Sessions
from shared.contracts.keys import SCOPE_SESSION, Principal
from shared.errors import ForbiddenError
from shared.web.caller import client_of
from shared.web.openapi import describe_problems


def build_session_routes(
    sessions: Sessions, profile: Profile, cookie: SessionCookie
) -> list[HTTPRouteHandler]:
    """The handlers of what needs a session."""

    @get(
        "/api/v1/auth/me",
        cache_control=NO_STORE,
        responses=describe_problems(401, 403, 429, 503),
        summary="Who is logged in",
        tags=["accounts"],
    )
    async def get_me(principal: FromGateway) -> Me:
        _require_session(principal)
        return await profile.show(principal.account_id, principal.key_id)

    @post(
        "/api/v1/auth/regenerate-api-key",
        status_code=201,
        cache_control=NO_STORE,
        responses=describe_problems(401, 403, 429, 503),
        summary="A new key instead of the first one",
        tags=["accounts"],
    )
    async def post_regenerate(request: Request[Any, Any, Any], principal: FromGateway) -> RegeneratedKey:
        _require_session(principal)
        made = await profile.regenerate_key(actor_of(principal, client_of(request)), principal.account_id)
        return RegeneratedKey(api_key=made.plain, key_id=made.key_id, revoked_keys=made.replaced)

    def clear_cookie(response: Response[Any]) -> Response[Any]:
        response.headers.update(cookie.to_clear())
        return response

    @post(
        "/api/v1/auth/logout",
        status_code=204,
        cache_control=NO_STORE,
        responses=describe_problems(401, 403, 429, 503),
        summary="End the session",
        tags=["accounts"],
        after_request=clear_cookie,
    )
    async def post_logout(request: Request[Any, Any, Any], principal: FromGateway) -> None:
        _require_session(principal)
        by = actor_of(principal, client_of(request))
        await sessions.end(by, principal.account_id, principal.key_id)

    return [get_me, post_regenerate, post_logout]


def _require_session(principal: Principal) -> None:
    if SCOPE_SESSION not in principal.scopes:
        raise ForbiddenError("This needs a session: log in, and send its cookie instead of an API key.")
