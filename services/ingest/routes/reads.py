"""`GET /api/v1/stats`, `/logs` and `/logs/{log_id}`."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream

from services.ingest.periods import GroupBy, parse_bound, parse_range, parse_zone
from services.ingest.presence import Presence
from services.ingest.read_logs import Format, find_log, read_page, stream_logs
from services.ingest.read_stats import read_stats
from services.ingest.routes.documents import LogsOperation
from services.ingest.selection import Filters, LogQuery
from services.ingest.watermark import Watermark
from shared.clock import Clock
from shared.contracts.keys import SCOPE_READ, Principal
from shared.contracts.records import LogEntry, PendingEntry
from shared.contracts.statistics import Statistics
from shared.errors import InvalidFieldError, NotFoundError
from shared.postgres import Database
from shared.web.principal import require_scope

Limit = Annotated[int, QueryParameter(ge=1, le=500, description="records to give")]
Offset = Annotated[int, QueryParameter(ge=0, le=1_000_000_000, description="records to pass over")]
Bound = Annotated[str | None, QueryParameter(description="YYYY-MM-DD, or an RFC 3339 time")]
Zone = Annotated[str | None, QueryParameter(description="an IANA time zone; UTC by default")]
Named = Annotated[str | None, QueryParameter(max_length=600)]

_INCOMPLETE = {"X-LLMRing-Complete": "false"}
_MEDIA_TYPES = {"csv": "text/csv; charset=utf-8; header=present", "ndjson": "application/x-ndjson"}


def build_reads(
    database: Database, presence: Presence, watermark: Watermark, clock: Clock, read_wait: timedelta
) -> list[HTTPRouteHandler]:
    """The handlers that read usage back. They wait for the caller's own newest record, up to `read_wait`.

    Where the database does not answer, they say so within a few seconds.
    """

    @get("/api/v1/stats", summary="Statistics of the account's usage", tags=["usage"])
    async def stats(
        *,
        principal: NamedDependency[Principal],
        start_date: Bound = None,
        end_date: Bound = None,
        origin: Named = None,
        model: Named = None,
        provider: Named = None,
        alias: Named = None,
        group_by: FromQuery[GroupBy] = "day",
        timezone: Zone = None,
    ) -> Response[Statistics]:
        require_scope(principal, SCOPE_READ)
        span = parse_range(start_date, end_date, parse_zone(timezone), clock.now())
        filters = _filters(origin=origin, model=model, provider=provider, alias=alias)
        complete = await watermark.wait(principal.account_id, read_wait)
        statistics = await presence.ask(
            lambda: read_stats(database, principal.account_id, span, group_by, filters)
        )
        statistics.complete = complete
        return Response(statistics, headers={} if complete else _INCOMPLETE)

    @get(
        "/api/v1/logs",
        operation_class=LogsOperation,
        summary="The account's records, newest first",
        tags=["usage"],
    )
    async def logs(
        *,
        request: Request[Any, Any, Any],
        principal: NamedDependency[Principal],
        limit: Limit = 50,
        offset: Offset = 0,
        cursor: Named = None,
        start_date: Bound = None,
        end_date: Bound = None,
        timezone: Zone = None,
        alias: Named = None,
        model: Named = None,
        origin: Named = None,
        provider: Named = None,
        format: Annotated[  # noqa: A002 - the parameter's own name, which errors tell
            Format | None, QueryParameter(description="stream all of them instead")
        ] = None,
    ) -> Response[list[LogEntry]] | Stream:
        require_scope(principal, SCOPE_READ)
        start_at, end_at = _bounds(start_date, end_date, timezone)
        filters = _filters(origin=origin, model=model, provider=provider, alias=alias)
        query = LogQuery(principal.account_id, start_at, end_at, filters)
        complete = await watermark.wait(principal.account_id, read_wait)
        headers = {} if complete else dict(_INCOMPLETE)
        if format is not None:
            pieces = _while_present(presence, stream_logs(database, query, format))
            return await _stream(pieces, _MEDIA_TYPES[format], headers)
        page = await presence.ask(
            lambda: read_page(database, query, limit=limit, offset=offset, cursor=cursor)
        )
        if page.next_cursor is not None:
            kept = [(k, v) for k, v in request.query_params.multi_items() if k not in ("cursor", "offset")]
            target = f"{request.url.path}?{urlencode([*kept, ('cursor', page.next_cursor)])}"
            headers["Link"] = f'<{target}>; rel="next"'
        return Response(page.entries, headers=headers)

    @get(
        "/api/v1/logs/{log_id:str}",
        responses={
            202: ResponseSpec(
                PendingEntry, generate_examples=False, description="It may be accepted and is not counted yet"
            )
        },
        summary="One record of the account",
        tags=["usage"],
    )
    async def log(principal: NamedDependency[Principal], log_id: FromPath[str]) -> Response[LogEntry]:
        require_scope(principal, SCOPE_READ)
        try:
            wanted = UUID(log_id)
        except ValueError:
            raise NotFoundError("There is no such record.") from None
        complete = await watermark.wait(principal.account_id, read_wait)
        entry = await presence.ask(lambda: find_log(database, principal.account_id, wanted))
        if entry is not None:
            return Response(entry)
        if not complete:
            pending: Response[Any] = Response(PendingEntry(id=wanted), status_code=202, headers=_INCOMPLETE)
            return pending
        raise NotFoundError("There is no such record.")

    return [stats, logs, log]


async def _while_present(presence: Presence, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces, each of which is asked of the database."""

    async def next_piece() -> bytes | None:
        return await anext(pieces, None)

    while (piece := await presence.ask(next_piece)) is not None:
        yield piece


async def _stream(pieces: AsyncIterator[bytes], media_type: str, headers: dict[str, str]) -> Stream:
    # The first piece is read before the status is sent, so that a database that is away answers 503.
    first = await anext(pieces, b"")

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return Stream(all_pieces(), media_type=media_type, headers=headers)


def _filters(*, origin: str | None, model: str | None, provider: str | None, alias: str | None) -> Filters:
    filters = Filters(origin=origin, model=model, provider=provider, alias=alias)
    for field, value in zip(Filters._fields, filters, strict=True):
        if value is not None and "\0" in value:
            raise InvalidFieldError.of(field, "must not contain NUL")
    return filters


def _bounds(
    start: str | None, end: str | None, timezone: str | None
) -> tuple[datetime | None, datetime | None]:
    zone = parse_zone(timezone)
    start_at = None if start is None else parse_bound(start, "start_date", zone, is_end=False)
    end_at = None if end is None else parse_bound(end, "end_date", zone, is_end=True)
    if start_at is not None and end_at is not None and start_at >= end_at:
        raise InvalidFieldError.of("start_date", "must not be after end_date")
    return start_at, end_at
