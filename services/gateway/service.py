"""Put the gateway together."""

from collections.abc import Mapping

from services.gateway.admit import Admission
from services.gateway.cors import Cors
from services.gateway.document import Document
from services.gateway.door import Door, Page
from services.gateway.health import HealthCheck, Probe, build_local_probe, build_remote_probe, show_alive
from services.gateway.keyring import Keyring
from services.gateway.limits import AddressLimits
from services.gateway.pages import Index, ScriptedPage
from services.gateway.routes import SERVICES, RouteTable
from services.gateway.sessions import SessionCookies
from services.gateway.settings import GatewaySettings
from services.gateway.watch import build_watch
from shared.clock import Clock
from shared.event_log.port import EventLog
from shared.limits.port import RateLimiter
from shared.runtime.service import Ping, Service
from shared.web.client import Upstream
from shared.web.principal import PrincipalMint


def build_gateway(
    *,
    upstreams: Mapping[str, Upstream],
    mint: PrincipalMint,
    event_log: EventLog,
    key_limiter: RateLimiter,
    address_limiter: RateLimiter,
    clock: Clock,
    settings: GatewaySettings,
    version: str,
    pings: Mapping[str, Mapping[str, Ping]] | None = None,
    redis: Ping | None = None,
    metrics: Page | None = None,
) -> Service:
    """Build the public door. `Service.app` is the whole public application.

    Args:
        upstreams: `registry`, `ingest`, `auth`, `receipts` and `webhooks`, in this process or elsewhere. The
            gateway closes them when it stops.
        mint: makes the principal tokens.
        event_log: carries `keys.changed`.
        key_limiter: counts requests by key. Not the one of addresses: a flood of strangers' addresses must
            not fill the memory in which good keys are counted.
        address_limiter: counts requests without a key, and bad keys, by client address.
        clock: one for limits, caches and tokens.
        settings: see there.
        version: of the whole system, told by `/`, `/health` and the OpenAPI document.
        pings: the pings of the services of this process, by service. One that is not named is asked at its
            `/internal/health` over its upstream.
        redis: where limits are counted there: tells whether it can be reached.
        metrics: answers the public `/metrics`; None leaves that path out.

    Raises:
        ValueError: an upstream is missing, or the trusted proxies or the origins are wrong.
    """
    missing = [name for name in SERVICES if name not in upstreams]
    if missing:
        raise ValueError(f"no upstream for: {', '.join(missing)}")
    routes = RouteTable(upstreams)
    keyring = Keyring(upstreams["auth"], mint, clock, settings.cached_keys)
    addresses = AddressLimits(address_limiter, settings)
    document = Document({name: upstreams[name] for name in SERVICES}, routes, version=version, clock=clock)
    probes = {name: _probe_of(name, upstreams[name], pings or {}) for name in SERVICES}
    own = {"event_log": event_log.ping} | ({} if redis is None else {"redis": redis})
    health = HealthCheck(probes, own, version=version, clock=clock)
    pages: dict[bytes, Page] = {
        b"/": Index(version).show,
        b"/docs": ScriptedPage("docs").show,
        b"/login": ScriptedPage("login").show,
        b"/password-reset": ScriptedPage("password-reset").show,
        b"/openapi.json": document.show,
        b"/health": health.show,
        b"/health/live": show_alive,
        b"/health/ready": health.show,
    }
    if metrics is not None:
        pages[b"/metrics"] = metrics
    door = Door(
        routes=routes,
        admission=Admission(
            keyring, SessionCookies(settings.public_url, settings.cors_origins), key_limiter, addresses
        ),
        addresses=addresses,
        cors=Cors(settings.cors_origins),
        pages=pages,
        methods=document,
        clock=clock,
    )
    return Service(
        name="gateway",
        app=door,
        workers=[build_watch(keyring, event_log)],
        pings=own,
        on_stop=[upstreams[name].close for name in SERVICES],
    )


def _probe_of(name: str, upstream: Upstream, pings: Mapping[str, Mapping[str, Ping]]) -> Probe:
    return build_local_probe(pings[name]) if name in pings else build_remote_probe(upstream)
