"""Where records go that cannot be processed, with the reason: they hold nobody up and can be replayed.

Only what no retry can cure belongs here: bytes that cannot be decoded, values that cannot be stored. An
outage does not: the consumer waits for its end.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from shared.contracts.topics import USAGE_DEAD
from shared.event_log.port import MAX_RECORD_BYTES, EventLog, Headers, Record, StoredRecord
from shared.telemetry.metrics import DEAD_LETTERS

REASON_HEADER: Final = "dead-letter-reason"
TOPIC_HEADER: Final = "dead-letter-topic"
PARTITION_HEADER: Final = "dead-letter-partition"
OFFSET_HEADER: Final = "dead-letter-offset"
NULL_VALUE_HEADER: Final = "dead-letter-null-value"
CUT_HEADER: Final = "dead-letter-cut"
"""On a record that had no room for these headers: how large the original was. It has neither the original's
headers nor all of its bytes; those are where it came from."""

MAX_REASON_BYTES: Final = 1_000
PASSES_ON_BYTES: Final = MAX_RECORD_BYTES - 4_096
"""Consumers append what they read to other topics, with a few fields and headers more. What is larger than
this might not fit, and would be tried for ever."""

_BATCH_BYTES: Final = 4_000_000
_CUT_KEY_BYTES: Final = 1_000


class Poison(NamedTuple):
    """A record that can never be processed, and why."""

    record: StoredRecord
    reason: str


async def dead_letter(log: EventLog, poison: Iterable[Poison]) -> None:
    """Append records as they were to `usage.dead`: same key, same bytes, their own headers and the reason.

    Appending one twice (the consumer died before it stored its position) is harmless: the source's topic,
    partition and offset tell that it is the same one. Call it right before the position is committed, so
    that an outage does not repeat it at every attempt.

    Args:
        log: where to append.
        poison: what cannot be processed; each reason is a plain sentence for the person who will look at it.

    Raises:
        UnavailableError: they may not all be stored, so they must not be counted as applied.
    """
    batch: list[Record] = []
    batch_bytes = 0
    for each in poison:
        letter = _letter(each)
        size = size_of(letter)
        if batch and batch_bytes + size > _BATCH_BYTES:
            await log.append(USAGE_DEAD, batch)
            batch, batch_bytes = [], 0
        batch.append(letter)
        batch_bytes += size
        DEAD_LETTERS.labels(each.record.topic).inc()
    if batch:
        await log.append(USAGE_DEAD, batch)


def size_of(record: Record | StoredRecord) -> int:
    """How many bytes a record has, as `MAX_RECORD_BYTES` counts them."""
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key) + len(record.value or b"") + headers


def _letter(poison: Poison) -> Record:
    record, reason = poison
    value = record.value or b""
    added: Headers = (
        (REASON_HEADER, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()),
        (TOPIC_HEADER, record.topic.encode()),
        (PARTITION_HEADER, str(record.partition).encode()),
        (OFFSET_HEADER, str(record.offset).encode()),
        *(((NULL_VALUE_HEADER, b"true"),) if record.value is None else ()),
    )
    whole = Record(record.key, value, (*record.headers, *added))
    if size_of(whole) <= MAX_RECORD_BYTES:
        return whole
    cut = Record(record.key[:_CUT_KEY_BYTES], b"", (*added, (CUT_HEADER, str(size_of(record)).encode())))
    return cut._replace(value=value[: MAX_RECORD_BYTES - size_of(cut)])
