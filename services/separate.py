"""Every service and every consumer as a process of its own; knows them all, as `all_in_one` does.

A process waits for what it needs and is not ready before; it starts in any order with the others. It imports
its own service alone.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Final

from services.auth.settings import AuthSettings
from services.gateway.settings import GatewaySettings
from services.ingest.settings import RetentionSettings
from services.receipts.settings import ReceiptsSettings
from services.redis_shares import (
    MAX_COUNTED_ADDRESSES,
    MAX_COUNTED_KEYS,
    build_claim_cache,
    build_marks,
    build_quota_counter,
)
from services.webhooks.settings import WebhooksSettings
from shared.clock import Clock
from shared.event_log.port import EventLog
from shared.limits.choose import build_limiter
from shared.postgres import Database, Schema
from shared.pricebook.pricebook import Pricebook
from shared.redis import Redis
from shared.runtime.front import RenderMetrics
from shared.runtime.service import Service, Worker
from shared.web.http_upstream import HttpUpstream
from shared.web.principal import PrincipalMint, PrincipalVerifier


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a process finds around it. Each of the openers waits until it is there.

    Attributes:
        stack: what is opened is closed by it.
        open_database: a pool for a schema, once its migrations are applied.
        open_dispensable_database: the same, but after a while also one that is unavailable until then.
        open_event_log: the event log, once its topics are there.
        open_redis: does not wait: nothing fails for want of Redis.
        urls: where other services are, by name.
        mint: makes principal tokens; for the gateway alone.
        principals: checks them; for the services behind it.
        public_metrics: what the gateway answers at `/metrics`; None where that is nobody's business.
        build_trimmers: what deletes old records from the event log; nothing where it is in Kafka.
    """

    stack: AsyncExitStack
    open_database: Callable[[Schema], Awaitable[Database]]
    open_dispensable_database: Callable[[Schema], Awaitable[Database]]
    open_event_log: Callable[[], Awaitable[EventLog]]
    open_redis: Callable[[], Awaitable[Redis]]
    urls: dict[str, str]
    mint: PrincipalMint | None
    principals: PrincipalVerifier
    clock: Clock
    version: str
    public_metrics: RenderMetrics | None
    build_trimmers: Callable[[Database], Sequence[Worker]]
    auth_settings: AuthSettings
    gateway_settings: GatewaySettings
    receipts_settings: ReceiptsSettings
    webhooks_settings: WebhooksSettings
    retention_settings: RetentionSettings

    def upstream(self, name: str) -> HttpUpstream:
        """Another service, over HTTP."""
        upstream = HttpUpstream(self.urls[name])
        self.stack.push_async_callback(upstream.close)
        return upstream


Build = Callable[[Surroundings], Awaitable[Service]]


@dataclass(frozen=True)
class Process:
    """One kind of process.

    Attributes:
        build: puts it together.
        needs: the settings, by their names, without which it makes no sense.
    """

    build: Build
    needs: tuple[str, ...]


async def _build_gateway(around: Surroundings) -> Service:
    from services.gateway.pages import MetricsPage
    from services.gateway.routes import SERVICES as BEHIND_GATEWAY
    from services.gateway.service import build_gateway

    redis = await around.open_redis()
    if around.mint is None:
        raise ValueError("the gateway needs its principal seed")
    return build_gateway(
        upstreams={name: around.upstream(name) for name in BEHIND_GATEWAY},
        mint=around.mint,
        event_log=await around.open_event_log(),
        key_limiter=build_limiter(redis, "key", MAX_COUNTED_KEYS),
        address_limiter=build_limiter(redis, "address", MAX_COUNTED_ADDRESSES),
        clock=around.clock,
        settings=around.gateway_settings,
        version=around.version,
        redis=redis.ping,
        metrics=None if around.public_metrics is None else MetricsPage(around.public_metrics).show,
    )


async def _build_registry(around: Surroundings) -> Service:
    from services.registry import service as registry

    return registry.build_registry(
        database=await around.open_database(registry.SCHEMA),
        event_log=await around.open_event_log(),
        principals=around.principals,
        clock=around.clock,
        version=around.version,
    )


async def _build_ingest(around: Surroundings) -> Service:
    from services.ingest import service as ingest

    redis = await around.open_redis()
    return ingest.build_ingest(
        database=await around.open_dispensable_database(ingest.SCHEMA),
        event_log=await around.open_event_log(),
        pricebook=Pricebook(around.upstream("registry")),
        principals=around.principals,
        clock=around.clock,
        version=around.version,
        auth=around.upstream("auth"),
        alone=True,
        claim_cache=build_claim_cache(redis),
        marks=build_marks(redis),
        quota_counter=build_quota_counter(redis),
    )


async def _build_rater(around: Surroundings) -> Service:
    from services.ingest import service as ingest

    database = await around.open_database(ingest.SCHEMA)
    rating = ingest.build_rating(
        database=database,
        event_log=await around.open_event_log(),
        pricebook=Pricebook(around.upstream("registry")),
        clock=around.clock,
    )
    retention = ingest.build_retention(
        database=database,
        auth=around.upstream("auth"),
        clock=around.clock,
        settings=around.retention_settings,
    )
    return replace(rating, workers=(*rating.workers, retention))


async def _build_auth(around: Surroundings) -> Service:
    from services.auth import service as auth

    redis = await around.open_redis()
    return auth.build_auth(
        database=await around.open_database(auth.SCHEMA),
        event_log=await around.open_event_log(),
        principals=around.principals,
        client_limiter=build_limiter(redis, "attempt-client", MAX_COUNTED_ADDRESSES),
        email_limiter=build_limiter(redis, "attempt-email", MAX_COUNTED_ADDRESSES),
        clock=around.clock,
        settings=around.auth_settings,
        ingest=around.upstream("ingest"),
        version=around.version,
    )


async def _build_receipts(around: Surroundings) -> Service:
    from services.receipts import service as receipts

    return receipts.build_receipts(
        database=await around.open_database(receipts.SCHEMA),
        event_log=await around.open_event_log(),
        pricebook=Pricebook(around.upstream("registry")),
        principals=around.principals,
        clock=around.clock,
        version=around.version,
        alone=True,
        ingest=around.upstream("ingest") if around.urls.get("ingest") else None,
        settings=around.receipts_settings,
    )


async def _build_issuer(around: Surroundings) -> Service:
    from services.receipts import service as receipts

    database = await around.open_database(receipts.SCHEMA)
    issuing = receipts.build_issuing(
        database=database,
        event_log=await around.open_event_log(),
        clock=around.clock,
        settings=around.receipts_settings,
    )
    # One kind of process trims. This one's schema is migrated last, so that of the raters is there as well.
    return replace(issuing, workers=(*issuing.workers, *around.build_trimmers(database)))


async def _build_webhooks(around: Surroundings) -> Service:
    from services.webhooks import service as webhooks

    return webhooks.build_webhooks(
        database=await around.open_database(webhooks.SCHEMA),
        principals=around.principals,
        clock=around.clock,
        version=around.version,
        settings=around.webhooks_settings,
    )


async def _build_deliverer(around: Surroundings) -> Service:
    from services.webhooks import service as webhooks

    return webhooks.build_delivering(
        database=await around.open_database(webhooks.SCHEMA),
        sources=webhooks.Sources(await around.open_event_log(), around.upstream("registry")),
        clock=around.clock,
        version=around.version,
        settings=around.webhooks_settings,
    )


SERVICES: Final = {
    "gateway": Process(
        _build_gateway,
        (
            "redis_url",
            "principal_seed",
            "registry_url",
            "ingest_url",
            "auth_url",
            "receipts_url",
            "webhooks_url",
        ),
    ),
    "registry": Process(_build_registry, ("database_url", "principal_public_keys")),
    "ingest": Process(
        _build_ingest, ("database_url", "redis_url", "principal_public_keys", "registry_url", "auth_url")
    ),
    "auth": Process(_build_auth, ("database_url", "redis_url", "principal_public_keys", "ingest_url")),
    "receipts": Process(
        _build_receipts, ("database_url", "principal_public_keys", "registry_url", "receipts_signing_seed")
    ),
    "webhooks": Process(_build_webhooks, ("database_url", "principal_public_keys", "webhooks_key")),
}
"""Processes that answer requests: `llmring-api serve NAME`."""

WORKERS: Final = {
    "rater": Process(_build_rater, ("database_url", "registry_url", "auth_url")),
    "issuer": Process(_build_issuer, ("database_url", "receipts_signing_seed")),
    "webhooks": Process(_build_deliverer, ("database_url", "registry_url", "webhooks_key")),
}
"""Processes that consume topics: `llmring-api worker NAME`."""
