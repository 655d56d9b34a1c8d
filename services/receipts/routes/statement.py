"""A statement in the forms that people read: `/api/v1/receipts/{receipt_id}/statement.csv` and `.html`."""

from typing import Final

from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from services.receipts.read import Reading
from services.receipts.routes.documents import describe_problems
from services.receipts.tabulate import write_csv, write_page
from shared.contracts.keys import SCOPE_READ, Principal
from shared.web.principal import require_scope

_PRIVATE: Final = {"cache-control": "no-store"}
_SEALED: Final = {**_PRIVATE, "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
"""The page needs nothing from anywhere, so a name that somebody chose can do nothing in it."""


def build_statement_routes(reading: Reading) -> list[HTTPRouteHandler]:
    """The handlers of the two forms."""

    @get(
        "/api/v1/receipts/{receipt_id:str}/statement.csv",
        responses=describe_problems(401, 403, 404, 429, 503),
        media_type="text/csv",
        summary="A statement for spreadsheets",
        tags=["receipts"],
    )
    async def get_statement_csv(
        principal: NamedDependency[Principal], receipt_id: FromPath[str]
    ) -> Response[str]:
        require_scope(principal, SCOPE_READ)
        row = await reading.get_row(principal.account_id, receipt_id)
        disposition = f'attachment; filename="statement-{row.receipt_id}.csv"'
        return Response(
            write_csv(row),
            media_type="text/csv",
            headers={**_PRIVATE, "content-disposition": disposition},
        )

    @get(
        "/api/v1/receipts/{receipt_id:str}/statement.html",
        responses=describe_problems(401, 403, 404, 429, 503),
        media_type=MediaType.HTML,
        summary="A statement to print",
        tags=["receipts"],
    )
    async def get_statement_page(
        principal: NamedDependency[Principal], receipt_id: FromPath[str]
    ) -> Response[str]:
        require_scope(principal, SCOPE_READ)
        row = await reading.get_row(principal.account_id, receipt_id)
        return Response(write_page(row), media_type=MediaType.HTML, headers=_SEALED)

    return [get_statement_csv, get_statement_page]
