"""The loops of webhooks: taking events, delivering messages, forgetting old ones, telling of changes."""

from collections.abc import Iterable
from typing import Any

from services.webhooks.deliver import Deliverer
from services.webhooks.retention import DeliveryRetention
from shared.event_log.outbox import Outbox
from shared.event_log.take import Taker
from shared.runtime.service import Worker


def build_workers(
    takers: Iterable[Taker[Any]], deliverer: Deliverer, retention: DeliveryRetention, outbox: Outbox
) -> list[Worker]:
    """All of them."""
    return [
        *(Worker(f"webhooks {taker.topic}", taker.run) for taker in takers),
        Worker("webhooks-deliver", deliverer.run),
        Worker("webhooks-retention", retention.run),
        Worker("webhooks-relay", outbox.run_relay),
    ]
