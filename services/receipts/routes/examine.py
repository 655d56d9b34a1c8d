"""The dispute view of a receipt: `/api/v1/receipts/{receipt_id}/audit`."""

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from services.receipts.examine import Examination
from services.receipts.routes.documents import describe_problems
from shared.contracts.keys import SCOPE_READ, Principal
from shared.contracts.receipts import Examined
from shared.web.asgi import find_header
from shared.web.principal import PRINCIPAL_HEADER, require_scope


def build_examination_routes(examination: Examination) -> list[HTTPRouteHandler]:
    """The handler of the audit."""

    @get(
        "/api/v1/receipts/{receipt_id:str}/audit",
        responses=describe_problems(401, 403, 404, 429, 503),
        summary="Check everything about a receipt",
        tags=["receipts"],
    )
    async def audit_receipt(
        request: Request[Any, Any, Any], principal: NamedDependency[Principal], receipt_id: FromPath[str]
    ) -> Response[Examined]:
        require_scope(principal, SCOPE_READ)
        token = find_header(request.scope["headers"], PRINCIPAL_HEADER) or b""
        examined = await examination.examine(principal.account_id, receipt_id, [(PRINCIPAL_HEADER, token)])
        return Response(examined, headers={"cache-control": "no-store"})

    return [audit_receipt]
