"""Webhooks, put together: the HTTP application, and the loops that take events and deliver messages."""

import functools
from datetime import timedelta
from importlib.resources import files
from typing import Final, NamedTuple

from services.webhooks.deliver import Deliverer
from services.webhooks.deliveries import DeliveryLog
from services.webhooks.endpoints import AccountEndpoints
from services.webhooks.follow_accounts import build_account_taker
from services.webhooks.note_change import SCHEMA as SCHEMA_NAME
from services.webhooks.read_budgets import read_crossing
from services.webhooks.read_registry import RegistryReader
from services.webhooks.retention import DeliveryRetention
from services.webhooks.routes.deliveries import build_delivery_routes
from services.webhooks.routes.endpoints import build_endpoint_routes
from services.webhooks.sealing_key import SealingKey
from services.webhooks.settings import WebhooksSettings
from services.webhooks.take import build_taker
from services.webhooks.worker import build_workers
from shared.clock import Clock
from shared.contracts.topics import BUDGETS_CROSSED, REGISTRY_PUBLISHED, WEBHOOKS_CHANGED
from shared.event_log.outbox import Outbox
from shared.event_log.port import EventLog
from shared.event_log.positions import PostgresPositions
from shared.postgres import Database, Schema
from shared.runtime.service import Service
from shared.web.addresses import Address, is_public
from shared.web.app import build_app
from shared.web.client import Upstream
from shared.web.guarded import GuardedOutbound
from shared.web.principal import PrincipalVerifier

SCHEMA: Final = Schema(SCHEMA_NAME, files("services.webhooks") / "migrations")

MAX_BODY_BYTES: Final = 64 * 1024
"""No request of this service is nearly as large; a longer one is refused before anything is made of it."""

MAX_ANSWER_BYTES: Final = 64 * 1024
"""What is read of an endpoint's answer. What matters is its status."""


class Sources(NamedTuple):
    """Where events come from.

    Attributes:
        event_log: gives `registry.published`, `budgets.crossed` and `keys.changed`, takes `webhooks.changed`
            and `webhooks.disabled`.
        registry: tells what a version changed.
    """

    event_log: EventLog
    registry: Upstream


def build_webhooks(
    *,
    database: Database,
    principals: PrincipalVerifier,
    clock: Clock,
    version: str,
    settings: WebhooksSettings,
    sources: Sources | None = None,
) -> Service:
    """The webhooks service, as a rule with its loops in the same process.

    Its first step at start opens the sealing key and raises `SealingKeyError` where there is no right one.

    Args:
        database: with this service's migrations applied by the time it starts.
        principals: checks the gateway's token.
        clock: dates everything, and tells what is due.
        version: of this program.
        settings: of this service.
        sources: of its loops. None: this service is a process of its own, and the loops are others
            (`build_delivering`).
    """
    sealing_key = SealingKey(database, settings)
    outbound = build_outbound(settings)
    endpoints = AccountEndpoints(
        database=database,
        sealing_key=sealing_key,
        check_url=outbound.check,
        clock=clock,
        max_endpoints=settings.endpoints_per_account,
    )
    delivering = Service(name="deliverer")
    if sources is not None:
        delivering = build_delivering(
            database=database, sources=sources, clock=clock, version=version, settings=settings
        )
    return Service(
        name="webhooks",
        app=build_app(
            "LLMRing webhooks",
            [*build_endpoint_routes(endpoints), *build_delivery_routes(DeliveryLog(database, clock))],
            service="webhooks",
            principals=principals,
            version=version,
            max_body_bytes=MAX_BODY_BYTES,
        ),
        workers=delivering.workers,
        pings={"database": database.ping, **delivering.pings},
        on_start=[sealing_key.open, *delivering.on_start],
        on_stop=[outbound.close, *delivering.on_stop],
    )


def build_delivering(
    *,
    database: Database,
    sources: Sources,
    clock: Clock,
    version: str,
    settings: WebhooksSettings,
) -> Service:
    """The loops as a process of its own; any number of them share the work.

    Its first step at start opens the sealing key, as that of `build_webhooks` does.
    """
    sealing_key = SealingKey(database, settings)
    outbound = build_outbound(settings)
    positions = PostgresPositions(database, SCHEMA.name)
    published = RegistryReader(database, sources.registry, clock)

    taker = functools.partial(
        build_taker, database=database, event_log=sources.event_log, positions=positions, clock=clock
    )
    return Service(
        name="deliverer",
        workers=build_workers(
            [
                taker(REGISTRY_PUBLISHED, published.read),
                taker(BUDGETS_CROSSED, read_crossing),
                build_account_taker(database, sources.event_log, positions, clock),
            ],
            Deliverer(
                database=database,
                event_log=sources.event_log,
                sealing_key=sealing_key,
                outbound=outbound,
                clock=clock,
                settings=settings,
                version=version,
            ),
            DeliveryRetention(database, clock, timedelta(days=settings.keep_days)),
            Outbox(database, sources.event_log, clock, schema=SCHEMA.name, topic=WEBHOOKS_CHANGED),
        ),
        pings={"database": database.ping, "event_log": sources.event_log.ping},
        on_start=[sealing_key.open],
        on_stop=[outbound.close],
    )


def build_outbound(settings: WebhooksSettings) -> GuardedOutbound:
    """What calls endpoints."""
    return GuardedOutbound(
        timeout=timedelta(seconds=settings.timeout_s),
        max_bytes=MAX_ANSWER_BYTES,
        allow_plain=settings.allow_private,
        permits=_permit_any if settings.allow_private else is_public,
    )


def _permit_any(_: Address) -> bool:
    return True
