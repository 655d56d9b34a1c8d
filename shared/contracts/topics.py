"""Topic names and their partition counts. The name follows the class: `UsageRated` is `usage.rated`."""

from typing import Final

USAGE_LOGGED: Final = "usage.logged"
USAGE_RATED: Final = "usage.rated"
USAGE_DEAD: Final = "usage.dead"
RECEIPTS_ISSUED: Final = "receipts.issued"
REGISTRY_PUBLISHED: Final = "registry.published"
KEYS_CHANGED: Final = "keys.changed"

TOPICS: Final[dict[str, int]] = {
    USAGE_LOGGED: 12,
    USAGE_RATED: 12,
    USAGE_DEAD: 1,
    RECEIPTS_ISSUED: 12,
    REGISTRY_PUBLISHED: 1,
    KEYS_CHANGED: 1,
}
"""Every topic and how many partitions it has. Usage topics are keyed by account id, so that one account's
events keep their order; the two broadcast topics have one partition, since every process reads all of it."""
