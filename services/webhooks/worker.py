"""The loops of webhooks: taking events, delivering messages, forgetting old ones."""

import asyncio
import functools
from collections.abc import Mapping

from services.webhooks.deliver import Deliverer
from services.webhooks.retention import DeliveryRetention
from services.webhooks.take import GROUP, Taker
from shared.event_log.consumer import run_consumer
from shared.event_log.port import EventLog, Positions
from shared.runtime.service import Worker

MAX_RECORDS = 20
"""In one slice: a registry version may have a hundred messages."""


def build_workers(
    *,
    takers: Mapping[str, Taker],
    deliverer: Deliverer,
    retention: DeliveryRetention,
    event_log: EventLog,
    positions: Positions,
) -> list[Worker]:
    """All of them.

    Args:
        takers: by topic.
        deliverer: delivers.
        retention: forgets.
        event_log: has the topics.
        positions: where the group stands.
    """

    async def take(topic: str, taker: Taker, stop: asyncio.Event) -> None:
        await run_consumer(event_log, GROUP, topic, positions, taker.take, stop=stop, max_records=MAX_RECORDS)

    return [
        *(
            Worker(f"webhooks {topic}", functools.partial(take, topic, taker))
            for topic, taker in takers.items()
        ),
        Worker("webhooks-deliver", deliverer.run),
        Worker("webhooks-retention", retention.run),
    ]
