"""Every service in one process: the one module that knows all five of them."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from services.auth import service as auth
from services.auth.settings import AuthSettings
from services.gateway.service import build_gateway
from services.gateway.settings import GatewaySettings
from services.ingest import service as ingest
from services.receipts import service as receipts
from services.receipts.declare import Priced, Pricer
from services.receipts.settings import ReceiptsSettings
from services.registry import service as registry
from shared.clock import Clock
from shared.event_log.consumer import Rest
from shared.event_log.port import EventLog
from shared.limits.memory import MemoryRateLimiter
from shared.postgres import Database, Schema
from shared.pricebook.pricebook import Pricebook
from shared.pricing.tokens import Tokens
from shared.proofs.signing import SigningKey, new_seed
from shared.runtime.service import Service
from shared.web.client import AsgiUpstream, Upstream
from shared.web.principal import PrincipalMint, PrincipalVerifier

REQUESTS_FIRST: Final = Rest(per_record_s=0.0005, longest_s=0.1)
MAX_COUNTED_KEYS: Final = 100_000
SCHEMAS: Final[tuple[Schema, ...]] = (registry.SCHEMA, ingest.SCHEMA, auth.SCHEMA, receipts.SCHEMA)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """All services, wired to one another in memory. `gateway.app` is the whole public application."""

    services: tuple[Service, ...]
    gateway: Service


def build_deployment(
    *,
    database: Database,
    event_log: EventLog,
    clock: Clock,
    version: str,
    data_dir: Path,
    public_url: str,
    gateway_settings: GatewaySettings,
) -> Deployment:
    """Wire the five services and their consumers for one process.

    The gateway's signing key is made anew for each process: its tokens live for minutes and never leave it.

    Args:
        database: with the migrations of `SCHEMAS` applied.
        event_log: takes and gives all topics.
        clock: the time for all of them.
        version: of this program.
        data_dir: where the private half of the receipts' signing key is kept.
        public_url: where people reach this deployment.
        gateway_settings: of the gateway.
    """
    key = SigningKey.from_seed(new_seed())
    principals = PrincipalVerifier(key.public_key, clock)
    registry_service = registry.build_registry(
        database=database, event_log=event_log, principals=principals, clock=clock, version=version
    )
    registry_upstream = _upstream(registry_service)
    ingest_service = ingest.build_ingest(
        database=database,
        event_log=event_log,
        registry=registry_upstream,
        principals=principals,
        clock=clock,
        version=version,
        rest=REQUESTS_FIRST,
    )
    auth_service = auth.build_auth(
        database=database,
        event_log=event_log,
        principals=principals,
        clock=clock,
        settings=AuthSettings(public_url=public_url),
        version=version,
    )
    receipts_service = receipts.build_receipts(
        database=database,
        event_log=event_log,
        pricer=_pricer(Pricebook(registry_upstream)),
        principals=principals,
        clock=clock,
        version=version,
        rest=REQUESTS_FIRST,
        settings=ReceiptsSettings(data_dir=str(data_dir)),
    )
    services = (registry_service, ingest_service, auth_service, receipts_service)
    gateway = build_gateway(
        upstreams={each.name: _upstream(each) for each in services},
        mint=PrincipalMint(key, clock),
        event_log=event_log,
        key_limiter=MemoryRateLimiter(MAX_COUNTED_KEYS),
        address_limiter=MemoryRateLimiter(),
        clock=clock,
        settings=gateway_settings,
        version=version,
        pings={each.name: each.pings for each in services},
    )
    return Deployment(services=(*services, gateway), gateway=gateway)


def _upstream(service: Service) -> Upstream:
    assert service.app is not None  # noqa: S101 - each of the four answers HTTP
    return AsgiUpstream(service.app)


def _pricer(pricebook: Pricebook) -> Pricer:
    async def price(provider: str, model: str, tokens: Tokens, service_tier: str, at: datetime) -> Priced:
        edition = await pricebook.in_force(at)
        key, quote = edition.quote(provider, model, tokens, service_tier)
        return Priced(key, quote, edition.version)

    return price
