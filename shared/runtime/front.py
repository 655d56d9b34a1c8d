"""What answers at a process's own address: its health and its metrics from the first moment, and its service
once that has started.

These paths are for whoever runs the process (an orchestrator, the gateway, Prometheus), never for the public.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final, Literal, cast

import msgspec
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from shared.errors import NotFoundError, UnavailableError
from shared.runtime.service import Ping, Service
from shared.web.asgi import send_answer
from shared.web.problems import send_problem

HEALTH_PATH: Final = "/internal/health"
PING_WITHIN_S: Final = 1.0
_SOON: Final = timedelta(seconds=2)
_NO_STORE: Final = (b"cache-control", b"no-store")

_encoder = msgspec.json.Encoder()

Page = Callable[[Send], Awaitable[None]]
RenderMetrics = Callable[[], tuple[bytes, str]]
"""The metrics as Prometheus reads them: text and content type."""


class Readiness(msgspec.Struct, frozen=True):
    """The answer to `/health/ready`: its dependencies by name, and whether each of them answers."""

    status: Literal["starting", "ready", "not ready"]
    checks: dict[str, bool]


class Checks(msgspec.Struct, frozen=True):
    """The answer to `/internal/health`, always with status 200."""

    checks: dict[str, bool]


class Front:
    """The application at a process's own address.

    Args:
        render_metrics: the metrics as text.
        public: strangers reach this address. Then it answers nothing of its own once the service has started,
            but for not being ready while it drains.
    """

    def __init__(self, render_metrics: RenderMetrics, *, public: bool = False) -> None:
        self._render_metrics = render_metrics
        self._public = public
        self._app: ASGIApp | None = None
        self._pings: Mapping[str, Ping] = {}
        self._dispensable: frozenset[str] = frozenset()
        self._state: Literal["starting", "ready", "draining"] = "starting"
        self._pages: Mapping[str, Page] = {
            "/health/live": self._show_alive,
            "/health/ready": self._show_ready,
            HEALTH_PATH: self._show_checks,
            "/metrics": self._show_metrics,
        }
        if public:
            self._pages = {path: self._pages[path] for path in ("/health/live", "/health/ready")}

    def open(self, service: Service) -> None:
        """The service has started: its requests are answered from now on."""
        self._app, self._pings, self._dispensable = service.app, service.pings, service.dispensable
        self._state = "ready"
        if self._public:
            self._pages = {}

    def close(self) -> None:
        """The service is about to stop: requests are still answered, and it calls itself not ready."""
        self._state = "draining"
        if self._public:
            self._pages = {"/health/ready": self._show_ready}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the server lets nothing but HTTP in."""
        page = self._pages.get(scope["path"])
        if page is not None:
            await page(send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        else:
            await self._decline(cast("HTTPScope", scope), send)

    async def _decline(self, scope: HTTPScope, send: Send) -> None:
        if self._state == "starting":
            error = UnavailableError("This service is starting.", retry_after=_SOON)
            await send_problem(scope, send, error)
        else:
            await send_problem(scope, send, NotFoundError("There is nothing at this path."))

    async def _show_alive(self, send: Send) -> None:
        await send_answer(send, 200, b'{"status":"alive"}', [_NO_STORE])

    async def _show_ready(self, send: Send) -> None:
        checks = await check(self._pings)
        whole = all(there for name, there in checks.items() if name not in self._dispensable)
        if self._state == "starting":
            readiness = Readiness("starting", checks)
        else:
            readiness = Readiness("ready" if whole and self._state == "ready" else "not ready", checks)
        status, headers = 200, [_NO_STORE]
        if readiness.status != "ready":
            status = 503
            headers.append((b"retry-after", b"%d" % _SOON.total_seconds()))
        await send_answer(send, status, _encoder.encode(readiness), headers)

    async def _show_checks(self, send: Send) -> None:
        checks = {"started": False} if self._state == "starting" else await check(self._pings)
        await send_answer(send, 200, _encoder.encode(Checks(checks)), [_NO_STORE])

    async def _show_metrics(self, send: Send) -> None:
        await send_metrics(send, self._render_metrics)


class MetricsOnly:
    """The application at an address that only tells `/metrics`, where the other address is public.

    Args:
        render_metrics: the metrics as text.
    """

    def __init__(self, render_metrics: RenderMetrics) -> None:
        self._render_metrics = render_metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI has it
        """Answer one request."""
        if scope["path"] == "/metrics":
            await send_metrics(send, self._render_metrics)
        else:
            error = NotFoundError("There is nothing at this path.")
            await send_problem(cast("HTTPScope", scope), send, error)


async def send_metrics(send: Send, render_metrics: RenderMetrics) -> None:
    """Answer with the metrics."""
    text, media_type = await asyncio.to_thread(render_metrics)  # a long text: others get their turn meanwhile
    await send_answer(send, 200, text, [_NO_STORE], content_type=(b"content-type", media_type.encode()))


async def check(pings: Mapping[str, Ping]) -> dict[str, bool]:
    """Ask all dependencies at once: which of them answer within `PING_WITHIN_S`."""
    answers = await asyncio.gather(*(_answers(ping) for ping in pings.values()))
    return dict(zip(pings, answers, strict=True))


async def _answers(ping: Ping) -> bool:
    try:
        async with asyncio.timeout(PING_WITHIN_S):
            await ping()
    except Exception:
        return False
    return True
