"""`GET` and `PUT /api/v1/budgets`, and `/reserve` and `/settle` below each."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post, put
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, RawBody

from services.ingest.budget import BudgetKey
from services.ingest.reserve import Reserving
from services.ingest.routes.budget_bodies import parse_budgets, parse_reserve, parse_settle
from services.ingest.set_budgets import Budgeting
from services.ingest.settle import Settling
from services.ingest.watermark import Watermark
from shared.contracts.budgets import (
    BudgetList,
    Budgets,
    Reservation,
    ReserveRequest,
    Settlement,
    SettleRequest,
)
from shared.contracts.keys import SCOPE_ADMIN, SCOPE_LOG, SCOPE_READ, Principal
from shared.money import EXACT, ZERO, plain
from shared.web.asgi import find_only_header
from shared.web.openapi import describe_body, describe_problems
from shared.web.principal import require_scope

_NO_STORE: Final = CacheControlHeader(no_store=True)
_INCOMPLETE: Final = {"X-LLMRing-Complete": "false"}
_REPLAYED: Final = {"Idempotent-Replayed": "true"}
_NONE: Final[Mapping[str, str]] = {}


def build_budgets(budgeting: Budgeting, watermark: Watermark, read_wait: timedelta) -> list[HTTPRouteHandler]:
    """The handlers for an account's budgets. They wait for its own newest record, up to `read_wait`."""

    @get(
        "/api/v1/budgets",
        cache_control=_NO_STORE,
        responses=describe_problems(401, 403, 422, 429, 503),
        summary="The account's budgets, and how far they are used this month",
        tags=["budgets"],
    )
    async def get_budgets(principal: NamedDependency[Principal]) -> Response[Budgets]:
        require_scope(principal, SCOPE_READ)
        complete = await watermark.wait(principal.account_id, read_wait)
        budgets = await budgeting.list_budgets(principal.account_id)
        return Response(Budgets(budgets), headers=_NONE if complete else _INCOMPLETE)

    @put(
        "/api/v1/budgets",
        cache_control=_NO_STORE,
        responses=describe_problems(400, 401, 403, 413, 422, 429, 503),
        operation_class=describe_body(BudgetList),
        summary="Set the account's budgets, all at once",
        tags=["budgets"],
    )
    async def put_budgets(principal: NamedDependency[Principal], body: RawBody) -> Response[Budgets]:
        require_scope(principal, SCOPE_ADMIN)
        wanted = parse_budgets(body)
        complete = await watermark.wait(principal.account_id, read_wait)
        budgets = await budgeting.set_budgets(principal.account_id, wanted)
        return Response(Budgets(budgets), headers=_NONE if complete else _INCOMPLETE)

    return [get_budgets, put_budgets]


def build_reservations(reserving: Reserving, settling: Settling) -> list[HTTPRouteHandler]:
    """The handlers for those who must not spend more than a budget."""

    @post(
        "/api/v1/budgets/{budget_id:uuid}/reserve",
        status_code=201,
        cache_control=_NO_STORE,
        responses=describe_problems(400, 401, 403, 404, 409, 413, 422, 429, 503),
        operation_class=describe_body(ReserveRequest),
        summary="Hold a part of what is left of a budget",
        tags=["budgets"],
    )
    async def reserve(
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        budget_id: FromPath[UUID],
        body: RawBody,
    ) -> Response[Reservation]:
        require_scope(principal, SCOPE_LOG)
        key = find_only_header(request.scope["headers"], b"idempotency-key")
        wish = parse_reserve(body, principal.account_id, key)
        decision = await reserving.reserve(BudgetKey(principal.account_id, budget_id), wish)
        held = Reservation(
            reservation_id=wish.reservation_id,
            budget_id=budget_id,
            amount=_number(decision.amount),
            remaining=_number(max(ZERO, decision.remaining)),
            expires_at=decision.expires_at,
        )
        return Response(held, headers=_REPLAYED if decision.outcome == "found" else _NONE)

    @post(
        "/api/v1/budgets/{budget_id:uuid}/settle",
        status_code=200,
        cache_control=_NO_STORE,
        responses=describe_problems(400, 401, 403, 404, 409, 413, 422, 429, 503),
        operation_class=describe_body(SettleRequest),
        summary="Say what a reservation has cost, or give it back",
        tags=["budgets"],
    )
    async def settle(
        principal: NamedDependency[Principal], budget_id: FromPath[UUID], body: RawBody
    ) -> Response[Settlement]:
        require_scope(principal, SCOPE_LOG)
        reservation_id, cost = parse_settle(body)
        settled = await settling.settle(BudgetKey(principal.account_id, budget_id), reservation_id, cost)
        found = settled.reservation
        counted = found.cost or ZERO
        answer = Settlement(
            reservation_id=reservation_id,
            budget_id=budget_id,
            amount=_number(found.amount),
            cost=_number(counted),
            cost_from="caller" if found.record_cost is None else "record",
            overrun=_number(max(ZERO, EXACT.subtract(counted, found.amount))),
            remaining=_number(max(ZERO, settled.remaining)),
        )
        return Response(answer, headers=_REPLAYED if settled.replayed else _NONE)

    return [reserve, settle]


def _number(amount: Decimal) -> msgspec.Raw:
    return msgspec.Raw(plain(amount).encode())
