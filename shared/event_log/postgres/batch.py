"""Several callers' records as the columns of one statement, and the way back of their positions."""

from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

import msgspec

from shared.event_log.lane import Append
from shared.event_log.port import Headers, Position
from shared.event_log.postgres.topics import Topic

_encode_headers: Final = msgspec.msgpack.Encoder().encode
_decode_headers: Final = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode


def decode_headers(stored: bytes | None) -> Headers:
    """The headers of a stored record."""
    return () if stored is None else _decode_headers(stored)


class Batch:
    """The arguments of `event_log.append`; each caller's records keep their order."""

    def __init__(self, appends: Sequence[Append[Topic]]) -> None:
        self._appends = appends
        self._places: list[tuple[int, int, int]] = []  # partition, partition id, rank
        next_rank: dict[int, int] = {}
        ids: list[int] = []
        ranks: list[int] = []
        keys: list[bytes] = []
        values: list[bytes] = []
        packed_headers: list[bytes | None] = []
        for append in appends:
            partition_ids = append.target.partition_ids
            count = len(partition_ids)
            last_key: bytes | None = None
            last_headers: Headers | None = None
            for key, value, headers in append.records:
                if key is not last_key:  # those of a request share it, and their headers
                    last_key = key
                    partition = crc32(key) % count
                    partition_id = partition_ids[partition]
                if headers is not last_headers:
                    last_headers = headers
                    packed = _encode_headers(headers) if headers else None
                rank = next_rank.get(partition_id, 0)
                next_rank[partition_id] = rank + 1
                self._places.append((partition, partition_id, rank))
                ids.append(partition_id)
                ranks.append(rank)
                keys.append(key)
                values.append(value)
                packed_headers.append(packed)
        self._wanted = sorted(next_rank)
        self.arguments: tuple[Any, ...] = (self._wanted, ids, ranks, keys, values, packed_headers)

    def resolve(self, first_offsets: Sequence[int]) -> None:
        """Tell every caller where its records went."""
        first = dict(zip(self._wanted, first_offsets, strict=True))
        at = 0
        for append in self._appends:
            until = at + len(append.records)
            append.resolve(
                [
                    Position(partition, first[partition_id] + rank)
                    for partition, partition_id, rank in self._places[at:until]
                ]
            )
            at = until

    def topics(self) -> set[str]:
        """The names of the topics that get records."""
        return {append.target.name for append in self._appends}
