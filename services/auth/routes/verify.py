"""What the gateway asks of auth."""

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import RawBody

from services.auth.routes.answers import NO_STORE, FromGateway
from services.auth.verify import KeyVerification
from shared.contracts.keys import SCOPE_GATEWAY, KeyLookup, Verification
from shared.web.bodies import read_body
from shared.web.principal import require_scope

VERIFY_PATH = "/internal/keys/verify"


def build_verify_route(verification: KeyVerification) -> HTTPRouteHandler:
    """The handler that looks keys up."""

    # The gateway has no route to this path, and a key's principal never has the gateway's scope.
    @post(VERIFY_PATH, status_code=200, cache_control=NO_STORE, include_in_schema=False)
    async def post_verify(principal: FromGateway, body: RawBody) -> Verification:
        require_scope(principal, SCOPE_GATEWAY)
        return await verification.verify(read_body(body, KeyLookup))

    return post_verify
