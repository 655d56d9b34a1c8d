"""The audit log."""

from typing import Annotated
from uuid import UUID

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from services.auth.read_audit import MAX_AUDIT_PAGE, AuditLog, AuditPage
from services.auth.routes.answers import NO_STORE, FromGateway
from shared.contracts.keys import SCOPE_ADMIN, SCOPE_OPERATOR
from shared.errors import ForbiddenError
from shared.web.openapi import describe_problems
from shared.web.principal import require_scope

Instant = Annotated[str | None, QueryParameter(description="an RFC 3339 time")]


def build_audit_routes(audit: AuditLog) -> list[HTTPRouteHandler]:
    """The handler that reads it."""

    @get(
        "/api/v1/audit",
        cache_control=NO_STORE,
        responses=describe_problems(400, 401, 403, 422, 429, 503),
        summary="What was done to the account",
        tags=["accounts"],
    )
    async def get_audit(
        principal: FromGateway,
        *,
        account_id: Annotated[
            UUID | None, QueryParameter(description="of this account; another one's for operators alone")
        ] = None,
        action: Annotated[
            str | None, QueryParameter(max_length=64, description="only this, such as `key.revoked`")
        ] = None,
        since: Instant = None,
        until: Instant = None,
        limit: Annotated[int, QueryParameter(ge=1, le=MAX_AUDIT_PAGE)] = 50,
        cursor: Annotated[
            str | None, QueryParameter(max_length=255, description="`next` of the page before")
        ] = None,
    ) -> AuditPage:
        is_operator = SCOPE_OPERATOR in principal.scopes
        if not is_operator:
            require_scope(principal, SCOPE_ADMIN)
            if account_id is not None and account_id != principal.account_id:
                raise ForbiddenError("Only an operator may read of other accounts.")
            account_id = principal.account_id
        return await audit.read(
            account_id,
            action=action,
            since=since,
            until=until,
            cursor=cursor,
            limit=limit,
            to_operator=is_operator,
        )

    return [get_audit]
