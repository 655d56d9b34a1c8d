"""`POST /api/v1/admin/usage/reprice`: the operator's way to price what could not be priced when it came."""

from typing import Any

from litestar import Request, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import RawBody

from services.ingest.periods import parse_bound, parse_zone
from services.ingest.price_late import LatePricing, Tally, read_cursor, write_cursor
from services.ingest.selection import UnpricedQuery
from shared.contracts.keys import SCOPE_OPERATOR, Principal
from shared.contracts.repricing import PricedModel, RepriceRequest, Repricing, UnpricedModel
from shared.contracts.usage import as_number
from shared.errors import Fault, InvalidFieldError
from shared.money import plain
from shared.web.asgi import find_header
from shared.web.bodies import read_body
from shared.web.openapi import describe_body, describe_problems
from shared.web.principal import require_scope

_NO_STORE = CacheControlHeader(no_store=True)


def build_reprice(pricing: LatePricing) -> HTTPRouteHandler:
    """The handler."""

    @post(
        "/api/v1/admin/usage/reprice",
        status_code=200,
        cache_control=_NO_STORE,
        responses=describe_problems(400, 401, 403, 413, 422, 429, 503),
        operation_class=describe_body(RepriceRequest),
        summary="Price records whose cost was unknown (scope: operator)",
        tags=["operator"],
    )
    async def reprice(
        principal: NamedDependency[Principal], request: Request[Any, Any, Any], body: RawBody
    ) -> Repricing:
        require_scope(principal, SCOPE_OPERATOR)
        asked = read_body(body, RepriceRequest)
        query = _read_query(asked)
        after = None if asked.cursor is None else read_cursor(asked.cursor)
        traceparent = find_header(request.scope["headers"], b"traceparent")
        tally = Tally()
        part = await pricing.price_part(
            query,
            tally,
            version=asked.registry_version,
            dry_run=asked.dry_run,
            after=after,
            limit=asked.limit,
            headers=() if traceparent is None else (("traceparent", traceparent),),
        )
        return _tell(tally, part.following and write_cursor(part.following), dry_run=asked.dry_run)

    return reprice


def _read_query(asked: RepriceRequest) -> UnpricedQuery:
    zone = parse_zone(None)
    bounds = []
    faults: list[Fault] = []
    for field, is_end in (("start_date", False), ("end_date", True)):
        try:
            bounds.append(parse_bound(getattr(asked, field), field, zone, is_end=is_end))
        except InvalidFieldError as error:
            faults += error.faults
    if asked.model is not None and "\0" in asked.model:
        faults.append(Fault("model", "must not contain NUL"))
    if len(bounds) == 2 and bounds[0] >= bounds[1]:
        faults.append(Fault("start_date", "must not be after end_date"))
    if faults:
        raise InvalidFieldError.all(faults)
    return UnpricedQuery(bounds[0], bounds[1], asked.account_id, asked.model)


def _tell(tally: Tally, following: str | None, *, dry_run: bool) -> Repricing:
    return Repricing(
        dry_run=dry_run,
        examined=tally.examined,
        priced=tally.priced,
        cost=as_number(plain(tally.cost)),
        by_model=[
            PricedModel(
                model_key=key,
                registry_version=version,
                records=records,
                cost=as_number(plain(tally.costs[key, version])),
            )
            for (key, version), records in sorted(tally.records.items())
        ],
        unpriced=[
            UnpricedModel(provider=provider, model=model, reason=reason, records=records)
            for (provider, model, reason), records in sorted(tally.unpriced.items())
        ],
        next=following,
    )
