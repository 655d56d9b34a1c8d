"""Is everything there? Every service is asked for its dependencies, at once, and not more often than once a
second however often the question comes.

`unhealthy` (503): usage cannot be recorded. `degraded` (200): some part is away, and logs are still taken.
Redis is never needed for that: limits fall back to memory. Nor is the database where the event log is another
one: keys that are known are believed meanwhile, and consumers catch up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

import msgspec
from litestar.types import HTTPScope, Send

from shared.clock import Clock
from shared.runtime.front import HEALTH_PATH, PING_WITHIN_S, Checks, check
from shared.runtime.service import Ping
from shared.web.asgi import send_answer
from shared.web.client import Upstream

ESSENTIAL: Final = frozenset(("auth", "ingest"))
"""Without these no log can be taken."""

_DISPENSABLE: Final = frozenset(("redis", "database"))

Reachability = Literal["connected", "down", "not configured"]
Overall = Literal["healthy", "degraded", "unhealthy"]
Probe = Callable[[], Awaitable[Mapping[str, bool]]]
"""Asks one service: its dependencies by name, and whether each is there. Raises when the service is away."""

_REMEMBERED_S: Final = 1.0

_encoder = msgspec.json.Encoder()


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /health`.

    Attributes:
        database: `connected` when every service reaches its own.
        redis: `not configured` in embedded mode, where limits live in memory.
        services: per service `healthy`, or what is away.
    """

    status: Overall
    version: str
    database: Reachability
    redis: Reachability
    event_log: Reachability
    services: dict[str, str]


def build_local_probe(pings: Mapping[str, Ping]) -> Probe:
    """Ask a service of this process through its own pings."""

    async def probe() -> Mapping[str, bool]:
        return await check(pings)

    return probe


def build_remote_probe(upstream: Upstream) -> Probe:
    """Ask a service in another process over HTTP."""

    async def probe() -> Mapping[str, bool]:
        async with asyncio.timeout(PING_WITHIN_S):
            answer = await upstream.call("GET", HEALTH_PATH)
        return msgspec.json.decode(answer.body, type=Checks).checks

    return probe


class HealthCheck:
    """Collects and remembers the health of all services.

    Args:
        probes: by name of service.
        own: the gateway's own dependencies, by name.
        version: told in the answer.
        clock: tells how old the last answer is.
    """

    def __init__(
        self, probes: Mapping[str, Probe], own: Mapping[str, Ping], *, version: str, clock: Clock
    ) -> None:
        self._probes = {**probes, "gateway": build_local_probe(own)}
        self._version = version
        self._clock = clock
        self._asking: asyncio.Task[Health] | None = None
        self._asked_at = 0.0

    async def read_health(self) -> Health:
        """The health as it was at most a second ago; all who ask meanwhile wait for the same answer."""
        now = self._clock.now().timestamp()
        if self._asking is None or (self._asking.done() and abs(now - self._asked_at) >= _REMEMBERED_S):
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask(), name="gateway.health")
        return await asyncio.shield(self._asking)

    async def _ask(self) -> Health:
        answers = await asyncio.gather(*(_checks(probe) for probe in self._probes.values()))
        by_service = dict(zip(self._probes, answers, strict=True))
        services = {name: _describe(checks) for name, checks in by_service.items()}
        return Health(
            status=_overall(by_service),
            version=self._version,
            database=_together("database", by_service),
            redis=_together("redis", by_service),
            event_log=_together("event_log", by_service),
            services=services,
        )

    async def show(self, scope: HTTPScope, send: Send) -> None:  # noqa: ARG002 - every page takes the request
        """`GET /health` and `/health/ready`: 503 while nothing can be logged."""
        health = await self.read_health()
        status = 503 if health.status == "unhealthy" else 200
        headers = [(b"cache-control", b"no-store")]
        if status == 503:
            headers.append((b"retry-after", b"2"))
        await send_answer(send, status, _encoder.encode(health), headers)


async def show_alive(scope: HTTPScope, send: Send) -> None:  # noqa: ARG001 - every page takes the request
    """`GET /health/live`: this process answers. It says nothing of others: their loss must restart nobody."""
    await send_answer(send, 200, b'{"status":"alive"}', [(b"cache-control", b"no-store")])


async def _checks(probe: Probe) -> Mapping[str, bool] | None:
    try:
        return await probe()
    except Exception:
        return None


def _overall(by_service: Mapping[str, Mapping[str, bool] | None]) -> Overall:
    for name in ESSENTIAL & by_service.keys():
        checks = by_service[name]
        if checks is None or any(not there for part, there in checks.items() if part not in _DISPENSABLE):
            return "unhealthy"
    whole = all(checks is not None and all(checks.values()) for checks in by_service.values())
    return "healthy" if whole else "degraded"


def _describe(checks: Mapping[str, bool] | None) -> str:
    if checks is None:
        return "down"
    away = sorted(name for name, there in checks.items() if not there)
    return f"without {', '.join(away)}" if away else "healthy"


def _together(name: str, by_service: Mapping[str, Mapping[str, bool] | None]) -> Reachability:
    seen = [checks[name] for checks in by_service.values() if checks is not None and name in checks]
    if seen:
        return "connected" if all(seen) else "down"
    return "not configured" if name == "redis" else "down"
