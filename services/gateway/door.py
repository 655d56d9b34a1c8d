"""The whole public application, as one bare ASGI callable.

Every request passes here, so what is done for each of them is done in one pass over its headers and without
a framework: a framework's handler costs more than all of this together (docs/adr/0007-gateway.md).
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterable, Mapping
from itertools import count
from time import perf_counter
from typing import Any, Final, Protocol, cast

from litestar.types import HTTPScope, Receive, Scope, Send

from services.gateway.admit import Admission
from services.gateway.cors import ALLOWED, Cors
from services.gateway.guards import require_json
from services.gateway.limits import AddressLimits
from services.gateway.requests import (
    COOKIE,
    ORIGIN,
    REQUEST_ID,
    TRACEPARENT,
    Header,
    is_sane_request_id,
    read_headers,
    trace_headers,
)
from services.gateway.responses import STRICT_TRANSPORT, Reply
from services.gateway.routes import RouteTable
from shared.clock import Clock
from shared.errors import LLMRingError, MethodNotAllowedError, NotFoundError, UnavailableError
from shared.telemetry.current import current_headers
from shared.telemetry.requests import RequestMeter
from shared.telemetry.tracing import Kind, start_span
from shared.web.asgi import ClientGoneError
from shared.web.problems import send_problem

_AWAY: Final = "A service behind the gateway is away."
_NOWHERE: Final = "There is nothing at this path."
_HEARD_WITHIN_S: Final = 0.05
_PAGE_METHODS: Final = ("GET", "HEAD", "OPTIONS")

_log = logging.getLogger(__name__)


class Page(Protocol):
    """Something that the gateway answers itself, to GET and HEAD."""

    async def __call__(self, scope: HTTPScope, send: Send) -> None:
        """Answer; the door adds what every answer carries."""
        ...


class Methods(Protocol):
    """Knows which methods the services have on a path."""

    async def list_methods(self, path: str) -> tuple[str, ...]:
        """The methods on a path; none where nothing is there."""
        ...


class Door:
    """Answers the gateway's own pages, and passes the rest on to the services that the table names.

    Args:
        routes: the routing table.
        admission: authenticates and limits.
        addresses: tells the client's address.
        cors: tells browsers who may read the answers.
        pages: what the gateway answers itself, by path without a slash at the end.
        methods: what OPTIONS is answered from.
        clock: gives each request its instant.
    """

    def __init__(
        self,
        *,
        routes: RouteTable,
        admission: Admission,
        addresses: AddressLimits,
        cors: Cors,
        pages: Mapping[bytes, Page],
        methods: Methods,
        clock: Clock,
    ) -> None:
        self._routes = routes
        self._exact = routes.exact
        self._admission = admission
        self._addresses = addresses
        self._cors = cors
        self._pages = pages
        self._methods = methods
        self._clock = clock
        # Unique within and across processes; nobody needs a request id to be hard to guess.
        self._id_prefix = os.urandom(8).hex().encode()
        self._ids = count(1)
        self._meter = RequestMeter("gateway")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection. Nothing is raised for what a client or a service did."""
        kind: str = scope["type"]
        if kind != "http":
            await _decline(kind, receive, send)
            return
        scope = cast("HTTPScope", scope)
        started = perf_counter()
        kept, found = read_headers(scope["headers"])
        request_id = found[REQUEST_ID]
        if request_id is None or not is_sane_request_id(request_id):
            request_id = b"%s-%08x" % (self._id_prefix, next(self._ids))
        peer = scope["client"]
        address = peer[0] if peer else ""
        client = self._addresses.client_of(address, found)
        kept.append((b"x-request-id", request_id))
        kept.append((b"x-forwarded-for", client.encode()))
        span = start_span(scope["method"], Kind.SERVER, found[TRACEPARENT], root=True)
        kept += trace_headers(found, span)
        handled = current_headers.set(kept)
        passed_on: Any = {**scope, "headers": kept}
        reply = Reply(send, request_id, without_body=scope["method"] == "HEAD")
        if self._addresses.is_https(scope.get("scheme", ""), address, found):
            reply.added.append(STRICT_TRANSPORT)
        reply.added += self._cors.headers_for(found[ORIGIN])
        try:
            if scope["method"] == "OPTIONS" and self._cors.is_preflight(found[ORIGIN], kept):
                await _send_empty(reply, ALLOWED)
            else:
                await self._serve(passed_on, receive, found, client, reply)
        except ClientGoneError:
            return
        except LLMRingError as error:
            await _fail(passed_on, reply, error)
        except Exception:
            _log.exception("unexpected error on %s, request %s", scope["path"], request_id.decode())
            await _fail(passed_on, reply, LLMRingError("unexpected"))
        finally:
            current_headers.reset(handled)
            self._meter.note(scope["method"], reply.route, reply.status, perf_counter() - started)
            if span is not None:
                self._meter.end_span(span, scope["method"], reply.route, reply.status, request_id)

    async def _serve(
        self, scope: HTTPScope, receive: Receive, found: list[bytes | None], client: str, reply: Reply
    ) -> None:
        raw_path = scope.get("raw_path") or scope["path"].encode()
        target = self._exact.get(raw_path)
        if target is not None:
            reply.route = target.route
        else:
            if raw_path.endswith(b"/") and raw_path != b"/":
                raw_path = raw_path[:-1]
                scope["path"], scope["raw_path"] = scope["path"][:-1], raw_path
                if raw_path.endswith(b"/"):
                    raise NotFoundError(_NOWHERE)
            page = self._pages.get(raw_path)
            if page is not None:
                reply.route = raw_path.decode()
                await _show(page, scope, reply)
                return
            target = self._routes.find_target(raw_path, scope["path"])
            if target is None:
                raise NotFoundError(_NOWHERE)
            reply.route = target.route if raw_path in self._exact else target.route_below
        method = scope["method"]
        if method == "OPTIONS":
            await _tell_methods(await self._methods.list_methods(scope["path"]), reply)
            return
        now = self._clock.now().timestamp()
        access = target.access_for(method)
        admission = self._admission
        known = await (
            admission.admit(access, found, client, now, reply)
            if found[COOKIE] is None
            else admission.admit_browser(
                access,
                scope,
                found,
                client=client,
                now=now,
                reply=reply,
                with_opener=target.row.with_opener,
            )
        )
        if known is not None:
            headers: Any = scope["headers"]  # our own list
            headers.append(known.header)
        require_json(method, found, is_expected=target.takes_json)
        if method == "HEAD" and target.head_as_get:
            scope["method"] = "GET"
        await target.forward(scope, receive, reply.send)
        if not reply.started and not await _has_left(receive):
            await _answer_instead(target.row.service, scope, reply)


async def _show(page: Page, scope: HTTPScope, reply: Reply) -> None:
    if scope["method"] in ("GET", "HEAD"):
        await page(scope, reply.send)
    elif scope["method"] == "OPTIONS":
        await _tell_methods(_PAGE_METHODS, reply)
    else:
        reply.added.append(_allow(_PAGE_METHODS))
        raise MethodNotAllowedError("This page can only be read: use GET.")


async def _tell_methods(methods: tuple[str, ...], reply: Reply) -> None:
    """Answer OPTIONS (RFC 9110, 9.3.7), which needs no key and reaches no service."""
    if not methods:
        raise NotFoundError(_NOWHERE)
    await _send_empty(reply, [_allow(methods)])


async def _send_empty(reply: Reply, headers: Iterable[Header]) -> None:
    await reply.send({"type": "http.response.start", "status": 204, "headers": headers})
    await reply.send({"type": "http.response.body", "body": b"", "more_body": False})


def _allow(methods: tuple[str, ...]) -> tuple[bytes, bytes]:
    return (b"allow", ", ".join(methods).encode())


async def _answer_instead(service: str, scope: HTTPScope, reply: Reply) -> None:
    """Answer for a service that gave no answer, or one in a form that nobody is promised."""
    status = reply.foreign_status
    if not status:
        _log.warning("%s gave no answer on %s", service, scope["path"])
        await _fail(scope, reply, LLMRingError("no answer"))
        return
    _log.warning("%s answered %d on %s, not by a problem document", service, status, scope["path"])
    away = status in (502, 503, 504)
    await _fail(scope, reply, UnavailableError(_AWAY) if away else LLMRingError("foreign error"))


async def _has_left(receive: Receive) -> bool:
    """Whether the client is gone. Of one that is still there nothing is heard for a moment."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_HEARD_WITHIN_S):
            while (await receive())["type"] != "http.disconnect":
                pass
            return True
    return False


async def _fail(scope: HTTPScope, reply: Reply, error: LLMRingError) -> None:
    if reply.started:
        # Returning without an end makes the server close the connection: nobody takes the part for the whole.
        _log.warning("an answer to %s was cut short: %s", scope["path"], error.detail)
        return
    reply.foreign_status = 0
    await send_problem(scope, reply.send, error)


async def _decline(kind: str, receive: Receive, send: Send) -> None:
    if kind == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000, "reason": None})
        return
    ended = False
    while not ended:  # lifespan: what lives and ends here is the runtime's business
        step: str = (await receive())["type"]
        await send(cast("Any", {"type": f"{step}.complete"}))
        ended = step == "lifespan.shutdown"
