"""Where records go that cannot be processed, with the reason: they hold nobody up and can be replayed.

Only what no retry can cure belongs here: bytes that cannot be decoded, values that cannot be stored. An
outage does not: the consumer waits for its end.
"""

from typing import Final

from shared.contracts.topics import USAGE_DEAD
from shared.event_log.port import EventLog, Record, StoredRecord

REASON_HEADER: Final = "dead-letter-reason"
TOPIC_HEADER: Final = "dead-letter-topic"
PARTITION_HEADER: Final = "dead-letter-partition"
OFFSET_HEADER: Final = "dead-letter-offset"
NULL_VALUE_HEADER: Final = "dead-letter-null-value"

MAX_REASON_BYTES: Final = 1_000


async def dead_letter(log: EventLog, record: StoredRecord, reason: str) -> None:
    """Append the record as it was to `usage.dead`: same key, same bytes, its own headers and the reason.

    Appending it twice (the consumer died before it stored its position) is harmless: the source's topic,
    partition and offset tell that it is the same one.

    Args:
        log: where to append.
        record: what cannot be processed.
        reason: a plain sentence for the person who will look at it.

    Raises:
        UnavailableError: it is not stored, so the record must not be counted as applied.
    """
    headers = (
        *record.headers,
        (REASON_HEADER, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()),
        (TOPIC_HEADER, record.topic.encode()),
        (PARTITION_HEADER, str(record.partition).encode()),
        (OFFSET_HEADER, str(record.offset).encode()),
        *(((NULL_VALUE_HEADER, b"true"),) if record.value is None else ()),
    )
    await log.append(USAGE_DEAD, [Record(record.key, record.value or b"", headers)])
