"""The loops of webhooks: taking events, delivering messages, forgetting old ones."""

import asyncio

from services.webhooks.deliver import Deliverer
from services.webhooks.retention import DeliveryRetention
from services.webhooks.take_registry import GROUP, RegistryTaker
from shared.contracts.topics import REGISTRY_PUBLISHED
from shared.event_log.consumer import run_consumer
from shared.event_log.port import EventLog, Positions
from shared.runtime.service import Worker

MAX_RECORDS = 20
"""Versions in one slice: each of them may have a hundred messages."""


def build_workers(
    *,
    registry_taker: RegistryTaker,
    deliverer: Deliverer,
    retention: DeliveryRetention,
    event_log: EventLog,
    positions: Positions,
) -> list[Worker]:
    """All of them."""

    async def take_registry(stop: asyncio.Event) -> None:
        await run_consumer(
            event_log,
            GROUP,
            REGISTRY_PUBLISHED,
            positions,
            registry_taker.take,
            stop=stop,
            max_records=MAX_RECORDS,
        )

    return [
        Worker("webhooks-registry", take_registry),
        Worker("webhooks-deliver", deliverer.run),
        Worker("webhooks-retention", retention.run),
    ]
