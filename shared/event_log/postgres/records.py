"""Reading records back."""

from collections.abc import Mapping, Sequence
from typing import Final

from shared.event_log.port import StoredRecord
from shared.event_log.postgres.batch import decode_headers
from shared.event_log.postgres.topics import Topic
from shared.postgres import Connection

MAX_READ_BYTES: Final = 16_000_000
"""What one read may bring into memory, beyond a first record that is larger."""

# The partitions come in the order of the arrays, each in the order of its offsets, so that the limits cut off
# the end and never leave a hole; `list_records` checks it.
LIST_RECORDS: Final = """
SELECT partition_id, record_offset, key, value, headers, appended_at
  FROM (SELECT found.*, sum(octet_length(found.value)) OVER (ROWS UNBOUNDED PRECEDING) AS total_bytes
          FROM (SELECT wanted.partition_id, record.*
                  FROM unnest($1::integer[], $2::bigint[]) AS wanted (partition_id, first_offset)
                 CROSS JOIN LATERAL (
                       SELECT record_offset, key, value, headers, appended_at
                         FROM event_log.records
                        WHERE records.partition_id = wanted.partition_id
                          AND records.record_offset >= wanted.first_offset
                        ORDER BY record_offset
                        LIMIT $3) AS record
                 LIMIT $3) AS found) AS measured
 WHERE total_bytes - octet_length(value) < $4
"""

LIST_ENDS: Final = """
SELECT wanted.partition_id,
       coalesce((SELECT newest.record_offset + 1
                   FROM event_log.records AS newest
                  WHERE newest.partition_id = wanted.partition_id
                  ORDER BY newest.record_offset DESC
                  LIMIT 1), 0) AS next_offset
  FROM unnest($1::integer[]) AS wanted (partition_id)
"""

# Where there is no record, 0 is where the first one will be: the newest of a partition is never trimmed.
LIST_BEGINS: Final = """
SELECT wanted.partition_id,
       coalesce((SELECT earliest.record_offset
                   FROM event_log.records AS earliest
                  WHERE earliest.partition_id = wanted.partition_id
                  ORDER BY earliest.record_offset
                  LIMIT 1), 0) AS first_offset
  FROM unnest($1::integer[]) AS wanted (partition_id)
"""


async def list_records(
    connection: Connection, topic: Topic, starts: Mapping[int, int], max_records: int
) -> dict[int, list[StoredRecord]]:
    """The records from the given offset on, per partition, those of the first partition first.

    Args:
        connection: where to read.
        topic: the topic.
        starts: partition -> the first offset wanted.
        max_records: the most records, over all partitions.
    """
    ids = topic.partition_ids
    numbers = {ids[partition]: partition for partition in starts}
    rows = await connection.fetch(
        LIST_RECORDS, list(numbers), list(starts.values()), max_records, MAX_READ_BYTES
    )
    name = topic.name
    found: dict[int, list[StoredRecord]] = {}
    for partition_id, offset, key, value, headers, appended_at in rows:
        partition = numbers[partition_id]
        records = found.get(partition)
        if records is None:
            records = found[partition] = []
        elif offset != records[-1].offset + 1:
            raise AssertionError(f"{name}/{partition}: {offset} follows {records[-1].offset}")
        records.append(
            StoredRecord(name, partition, offset, key, value, decode_headers(headers), appended_at)
        )
    return found


async def list_ends(connection: Connection, topic: Topic) -> dict[int, int]:
    """The offset that the next record of each partition will get."""
    rows = await connection.fetch(LIST_ENDS, list(topic.partition_ids))
    ends = {row["partition_id"]: row["next_offset"] for row in rows}
    return {partition: ends[partition_id] for partition, partition_id in enumerate(topic.partition_ids)}


async def list_begins(connection: Connection, topic: Topic) -> dict[int, int]:
    """The offset of the earliest record of each partition, or of the next one where there is none."""
    rows = await connection.fetch(LIST_BEGINS, list(topic.partition_ids))
    begins = {row["partition_id"]: row["first_offset"] for row in rows}
    return {partition: begins[partition_id] for partition, partition_id in enumerate(topic.partition_ids)}


def rotated(partitions: Sequence[int], turn: int) -> list[int]:
    """The partitions, beginning with another one each turn: a long one must not keep the rest waiting."""
    at = turn % len(partitions) if partitions else 0
    return [*partitions[at:], *partitions[:at]]
