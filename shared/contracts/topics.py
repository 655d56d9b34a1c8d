"""Topic names and their partition counts. The name follows the class: `UsageRated` is `usage.rated`."""

from datetime import timedelta
from typing import Final

USAGE_LOGGED: Final = "usage.logged"
USAGE_RATED: Final = "usage.rated"
USAGE_DEAD: Final = "usage.dead"
RECEIPTS_ISSUED: Final = "receipts.issued"
BUDGETS_CROSSED: Final = "budgets.crossed"
WEBHOOKS_CHANGED: Final = "webhooks.changed"
WEBHOOKS_DISABLED: Final = "webhooks.disabled"
REGISTRY_PUBLISHED: Final = "registry.published"
KEYS_CHANGED: Final = "keys.changed"

TOPICS: Final[dict[str, int]] = {
    USAGE_LOGGED: 12,
    USAGE_RATED: 12,
    USAGE_DEAD: 1,
    RECEIPTS_ISSUED: 12,
    BUDGETS_CROSSED: 12,
    WEBHOOKS_CHANGED: 1,
    WEBHOOKS_DISABLED: 1,
    REGISTRY_PUBLISHED: 1,
    KEYS_CHANGED: 1,
}
"""Every topic and how many partitions it has. Those with 12 are keyed by account id, so that one account's
events keep their order; the two broadcast topics have one partition, since every process reads all of it, and
those of webhooks one since they are rare."""

PASSED_ON_RETENTION: Final = timedelta(days=14)

RETENTION: Final[dict[str, timedelta | None]] = {
    USAGE_LOGGED: None,
    USAGE_RATED: PASSED_ON_RETENTION,
    USAGE_DEAD: None,
    RECEIPTS_ISSUED: PASSED_ON_RETENTION,
    BUDGETS_CROSSED: PASSED_ON_RETENTION,
    WEBHOOKS_CHANGED: PASSED_ON_RETENTION,
    WEBHOOKS_DISABLED: PASSED_ON_RETENTION,
    REGISTRY_PUBLISHED: PASSED_ON_RETENTION,
    KEYS_CHANGED: PASSED_ON_RETENTION,
}
"""How long a topic keeps its records; None is for ever.

`usage.logged` is what everything else can be made from again, and `usage.dead` waits for people. The others
repeat what Postgres holds: two weeks are longer than an outage of a consumer that nobody notices. Kafka gets
this when it creates a topic; the log in Postgres lets go of nothing that a group has not passed.
"""
