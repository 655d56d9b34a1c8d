"""Logging in by way of a provider, and the key that waits for whoever did so for the first time."""

from typing import Annotated, Any, Final

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter

from services.auth.audit import actor_of
from services.auth.messages import LoginProviders, RetrievedKeyView
from services.auth.oauth.log_in import CallbackAnswer, Finished, OAuthLogin
from services.auth.pending_keys import PendingKeys
from services.auth.routes.answers import NO_STORE, FromGateway
from services.auth.routes.cookies import LoginCookies, SessionCookie
from shared.contracts.keys import SCOPE_SESSION, Principal
from shared.contracts.sessions import OPENER_HEADER
from shared.errors import ForbiddenError, LLMRingError, MalformedRequestError
from shared.web.app import answer_exception
from shared.web.asgi import find_header
from shared.web.caller import client_of
from shared.web.openapi import describe_problems

LANDING: Final = "/login"
"""Where a browser goes after a login that was begun for no page."""

_SENT_ON: Final = {302: ResponseSpec(None, description="Where the browser goes next, in `Location`")}

AnyRequest = Request[Any, Any, Any]
ReturnTo = Annotated[str | None, QueryParameter(description="a path of this site, to come back to")]


def build_oauth_routes(
    login: OAuthLogin, pending: PendingKeys, cookie: SessionCookie, cookies: LoginCookies
) -> list[HTTPRouteHandler]:
    """The handlers."""
    return [*_build_logins(login, cookie, cookies), *_build_retrieval(pending)]


def _build_logins(login: OAuthLogin, cookie: SessionCookie, cookies: LoginCookies) -> list[HTTPRouteHandler]:
    @get(
        "/api/v1/auth/login",
        responses=describe_problems(429, 503),
        summary="The providers that one can log in at",
        tags=["accounts"],
        sync_to_thread=False,
    )
    def get_providers() -> LoginProviders:
        return LoginProviders(providers=login.providers)

    @get(
        "/api/v1/auth/login/{provider:str}",
        status_code=302,
        cache_control=NO_STORE,
        responses=_SENT_ON | describe_problems(400, 404, 422, 429, 503),
        summary="Log in at a provider: `google` or `github`",
        tags=["accounts"],
    )
    async def get_login(provider: FromPath[str], return_to: ReturnTo = None) -> Response[bytes]:
        begun = await login.begin(provider, return_to)
        return _redirect(begun.url, [cookies.to_set(begun.state, begun.browser_secret)])

    @get(
        "/api/v1/auth/callback/{provider:str}",
        status_code=302,
        cache_control=NO_STORE,
        responses=_SENT_ON | describe_problems(400, 403, 404, 429, 503),
        summary="Where a provider sends the browser back to: sets the session's cookie",
        tags=["accounts"],
    )
    async def get_callback(request: AnyRequest, provider: FromPath[str]) -> Response[Any]:
        state = request.query_params.get("state")
        secret = None if state is None else cookies.read(request.cookies, state)
        cleared = [] if state is None or secret is None else [cookies.to_clear(state)]
        try:
            done = await login.finish(provider, _read_answer(request), secret, client_of(request))
        except LLMRingError as error:
            response: Response[Any] = answer_exception(request, error)
            response.cookies = cleared
            response.headers["cache-control"] = "no-store"
            return response
        return _finished(done, cookie, cleared)

    return [get_providers, get_login, get_callback]


def _finished(done: Finished, cookie: SessionCookie, cleared: list[Cookie]) -> Response[bytes]:
    response = _redirect(done.return_to or LANDING, cleared)
    if done.session is not None:
        response.headers.update(cookie.to_set(done.session))
    return response


def _redirect(url: str, cookies: list[Cookie]) -> Response[bytes]:
    return Response(b"", status_code=302, media_type="text/plain", headers={"location": url}, cookies=cookies)


def _read_answer(request: AnyRequest) -> CallbackAnswer:
    found = request.query_params
    names = ("state", "code", "error", "iss")
    if any(len(found.getall(name, [])) > 1 for name in names):  # RFC 6749, 3.1
        raise MalformedRequestError("A parameter of the answer is there more than once.")
    return CallbackAnswer(*(found.get(name) for name in names))


def _build_retrieval(pending: PendingKeys) -> list[HTTPRouteHandler]:
    async def retrieve(request: AnyRequest, principal: Principal) -> RetrievedKeyView:
        opener = find_header(request.scope["headers"], OPENER_HEADER)
        if SCOPE_SESSION not in principal.scopes or opener is None:
            raise ForbiddenError("This needs a session: log in, and send its cookie instead of an API key.")
        by = actor_of(principal, client_of(request))
        made = await pending.retrieve(by, principal.key_id, bytes.fromhex(opener.decode()))
        return RetrievedKeyView(api_key=made.plain, key_id=made.key_id)

    @get(
        "/api/v1/auth/retrieve-api-key",
        cache_control=NO_STORE,
        responses=describe_problems(401, 403, 404, 410, 429, 503),
        summary="The first key of an account that a provider's login has opened: once",
        tags=["accounts"],
    )
    async def get_first_key(request: AnyRequest, principal: FromGateway) -> RetrievedKeyView:
        _require_asked(request)
        return await retrieve(request, principal)

    @post(
        "/api/v1/auth/retrieve-api-key",
        status_code=200,
        cache_control=NO_STORE,
        responses=describe_problems(401, 403, 404, 410, 429, 503),
        summary="The same: what spends something is better asked for by POST",
        tags=["accounts"],
    )
    async def post_first_key(request: AnyRequest, principal: FromGateway) -> RetrievedKeyView:
        return await retrieve(request, principal)

    return [get_first_key, post_first_key]


def _require_asked(request: AnyRequest) -> None:
    """Let nothing but the person's own wish spend the key: no other site's link, and no browser's guess.

    Of a POST the gateway has made sure.
    """
    site = request.headers.get("sec-fetch-site", "none")
    purposes = f"{request.headers.get('sec-purpose', '')} {request.headers.get('purpose', '')}"
    if site not in ("none", "same-origin") or "prefetch" in purposes.lower():
        raise ForbiddenError("By GET the key is given out when it is asked for from this site alone.")
