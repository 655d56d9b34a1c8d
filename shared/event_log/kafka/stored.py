"""Records as the consumer library gives them, in the port's terms."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from shared.event_log.port import StoredRecord


def stored_records(found: Iterable[Any]) -> tuple[StoredRecord, ...]:
    """The records of one partition; a key or a header's value that a foreign producer left out is empty."""
    return tuple(
        StoredRecord(
            record.topic,
            record.partition,
            record.offset,
            record.key or b"",
            record.value,
            tuple((name, value or b"") for name, value in record.headers),
            datetime.fromtimestamp(record.timestamp / 1000, UTC),
        )
        for record in found
    )
