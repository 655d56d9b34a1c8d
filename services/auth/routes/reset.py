"""Resetting passwords."""

from typing import Any, Final

from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import RawBody

from services.auth.messages import PasswordChanged, ResetAsked, ResetConfirmRequest, ResetRequest
from services.auth.reset import MEANING, PasswordReset
from services.auth.routes.answers import NO_STORE
from shared.web.bodies import read_body
from shared.web.caller import client_of
from shared.web.openapi import describe_body, describe_problems

ASKED: Final = ResetAsked(detail="If the address has an account, a mail with a link is on its way to it.")


def build_reset_routes(reset: PasswordReset) -> list[HTTPRouteHandler]:
    """The handlers of asking for a link, and of taking it."""

    @post(
        "/api/v1/password-reset",
        status_code=202,
        cache_control=NO_STORE,
        responses=describe_problems(400, 413, 422, 429, 503),
        operation_class=describe_body(ResetRequest),
        summary="Ask for a link that sets a new password",
        tags=["accounts"],
    )
    async def post_reset(request: Request[Any, Any, Any], body: RawBody) -> ResetAsked:
        data = read_body(body, ResetRequest)
        await reset.ask(email=data.email, client=client_of(request))
        return ASKED

    @post(
        "/api/v1/password-reset/confirm",
        status_code=200,
        cache_control=NO_STORE,
        responses=describe_problems(400, 413, 422, 429, 503),
        operation_class=describe_body(ResetConfirmRequest),
        summary="Set a new password by such a link",
        tags=["accounts"],
    )
    async def post_confirm(request: Request[Any, Any, Any], body: RawBody) -> PasswordChanged:
        data = read_body(body, ResetConfirmRequest, MEANING)
        done = await reset.confirm(
            token=data.token, new_password=data.new_password, client=client_of(request)
        )
        return PasswordChanged(
            detail="The password is set, and all sessions have ended. API keys stay valid: revoke those that "
            "others may have.",
            sessions_ended=done.sessions_ended,
            api_keys_still_valid=done.api_keys_left,
        )

    return [post_reset, post_confirm]
