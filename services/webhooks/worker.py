"""The loops of webhooks: taking events, delivering messages, forgetting old ones."""

from collections.abc import Iterable
from typing import Any

from services.webhooks.deliver import Deliverer
from services.webhooks.retention import DeliveryRetention
from shared.event_log.take import Taker
from shared.runtime.service import Worker


def build_workers(
    takers: Iterable[Taker[Any]], deliverer: Deliverer, retention: DeliveryRetention
) -> list[Worker]:
    """All of them."""
    return [
        *(Worker(f"webhooks {taker.topic}", taker.run) for taker in takers),
        Worker("webhooks-deliver", deliverer.run),
        Worker("webhooks-retention", retention.run),
    ]
