"""Every service in one process: the one module that knows all six of them."""

from dataclasses import dataclass
from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from services.auth import service as auth
from services.auth.settings import AuthSettings
from services.gateway.pages import MetricsPage
from services.gateway.service import build_gateway
from services.gateway.settings import GatewaySettings
from services.ingest import service as ingest
from services.ingest.claim_cache import ClaimCache
from services.ingest.settings import RetentionSettings
from services.receipts import service as receipts
from services.receipts.settings import ReceiptsSettings
from services.redis_shares import MAX_COUNTED_ADDRESSES, MAX_COUNTED_KEYS, build_quota_counter
from services.registry import service as registry
from services.webhooks import service as webhooks
from services.webhooks.settings import WebhooksSettings
from shared.clock import Clock
from shared.event_log.port import EventLog
from shared.limits.choose import build_limiter
from shared.postgres import Database, Schema
from shared.pricebook.pricebook import Pricebook
from shared.proofs.signing import SigningKey, new_seed
from shared.redis import Redis
from shared.runtime.front import RenderMetrics
from shared.runtime.requests_first import RequestsFirst
from shared.runtime.service import Service
from shared.web.client import AsgiUpstream, Upstream
from shared.web.principal import PrincipalMint, PrincipalVerifier

SCHEMAS: Final[tuple[Schema, ...]] = (
    registry.SCHEMA,
    ingest.SCHEMA,
    auth.SCHEMA,
    webhooks.SCHEMA,
    receipts.SCHEMA,  # the last: whoever waits for it finds the others there as well
)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """All services, wired to one another in memory; `app` is the whole public application."""

    services: tuple[Service, ...]
    app: ASGIApp


def build_deployment(
    *,
    database: Database,
    event_log: EventLog,
    clock: Clock,
    version: str,
    auth_settings: AuthSettings,
    gateway_settings: GatewaySettings,
    receipts_settings: ReceiptsSettings,
    webhooks_settings: WebhooksSettings,
    retention_settings: RetentionSettings = RetentionSettings(),  # noqa: B008 - it cannot be changed
    claim_cache: ClaimCache | None = None,
    redis: Redis | None = None,
    metrics: RenderMetrics | None = None,
) -> Deployment:
    """Wire the six services and their consumers for one process.

    The gateway's signing key is made anew for each process: its tokens live for minutes and never leave it.

    Args:
        database: with the migrations of `SCHEMAS` applied.
        event_log: takes and gives all topics.
        clock: the time for all of them.
        version: of this program.
        auth_settings: of auth.
        gateway_settings: of the gateway.
        receipts_settings: of receipts.
        webhooks_settings: of webhooks.
        retention_settings: of the deletion of old records.
        claim_cache: what idempotency keys stand for, for as long as the database is away and the event log is
            not.
        redis: counts requests, and the records of a month; without it this process's memory does.
        metrics: what the public `/metrics` answers; None leaves that path out.
    """
    key = SigningKey.from_seed(new_seed())
    principals = PrincipalVerifier([key.public_key], clock)
    pace = RequestsFirst()
    registry_service = registry.build_registry(
        database=database, event_log=event_log, principals=principals, clock=clock, version=version
    )
    pricebook = Pricebook(_upstream(registry_service))

    async def ask_auth(scope: Scope, receive: Receive, send: Send) -> None:
        """Auth, which is built after ingest, since each asks the other."""
        assert auth_service.app is not None  # noqa: S101 - it answers HTTP
        await auth_service.app(scope, receive, send)

    ingest_service = ingest.build_ingest(
        database=database,
        event_log=event_log,
        pricebook=pricebook,
        principals=principals,
        clock=clock,
        version=version,
        auth=AsgiUpstream(ask_auth),
        pace=pace,
        claim_cache=claim_cache,
        quota_counter=None if redis is None else build_quota_counter(redis),
    )
    auth_service = auth.build_auth(
        database=database,
        event_log=event_log,
        principals=principals,
        client_limiter=build_limiter(redis, "attempt-client", MAX_COUNTED_ADDRESSES),
        email_limiter=build_limiter(redis, "attempt-email", MAX_COUNTED_ADDRESSES),
        clock=clock,
        settings=auth_settings,
        ingest=_upstream(ingest_service),
        version=version,
    )
    receipts_service = receipts.build_receipts(
        database=database,
        event_log=event_log,
        pricebook=pricebook,
        principals=principals,
        clock=clock,
        version=version,
        pace=pace,
        ingest=_upstream(ingest_service),
        settings=receipts_settings,
    )
    webhooks_service = webhooks.build_webhooks(
        database=database,
        principals=principals,
        clock=clock,
        version=version,
        settings=webhooks_settings,
        sources=webhooks.Sources(event_log, _upstream(registry_service)),
    )
    services = (registry_service, ingest_service, auth_service, receipts_service, webhooks_service)
    retention = ingest.build_retention(
        database=database, auth=_upstream(auth_service), clock=clock, settings=retention_settings
    )
    gateway = build_gateway(
        upstreams={each.name: _upstream(each) for each in services},
        mint=PrincipalMint(key, clock),
        event_log=event_log,
        key_limiter=build_limiter(redis, "key", MAX_COUNTED_KEYS),
        address_limiter=build_limiter(redis, "address", MAX_COUNTED_ADDRESSES),
        clock=clock,
        settings=gateway_settings,
        version=version,
        pings={each.name: each.pings for each in services},
        redis=None if redis is None else redis.ping,
        metrics=None if metrics is None else MetricsPage(metrics).show,
    )
    assert gateway.app is not None  # noqa: S101 - it is all that the gateway is
    keeping = Service(name="retention", workers=[retention])
    return Deployment(services=(*services, keeping, gateway), app=pace.count(gateway.app))


def _upstream(service: Service) -> Upstream:
    assert service.app is not None  # noqa: S101 - each of the five answers HTTP
    return AsgiUpstream(service.app)
