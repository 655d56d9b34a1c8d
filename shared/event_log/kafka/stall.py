"""Notice a partition that is read no more although it has records.

The library has several tasks that wait for brokers and for one another. A member in which one of them hangs
keeps its partitions, by its heartbeats, and reads nothing of them, for ever. So from time to time somebody
compares what was read with what there is.
"""

from collections.abc import Iterable, Mapping
from typing import Final

LOOK_EVERY_S: Final = 30.0

MANY_READS: Final = 40
"""So many reads without a partition's records say that they do not come; fewer, that others came first, or
that what was read could not be applied."""


class StallWatch:
    """Remembers what one member has read since somebody looked last.

    Args:
        now: seconds, by a clock that is never set back.
    """

    def __init__(self, now: float) -> None:
        self._ends: Mapping[int, int] = {}
        self._reads = 0
        self._read: set[int] = set()
        self._due_at = now + LOOK_EVERY_S

    def start_again(self, now: float) -> None:
        """The member reads other partitions from now on."""
        self.look(now, {}, {})

    def note_read(self, partitions: Iterable[int]) -> None:
        """A read is over, which brought records of these partitions."""
        self._reads += 1
        self._read.update(partitions)

    def is_due(self, now: float) -> bool:
        """Whether it is time to look."""
        return now >= self._due_at

    def look(self, now: float, positions: Mapping[int, int], ends: Mapping[int, int]) -> list[int]:
        """The partitions that were read from in no read since the last look, and had records by then.

        Args:
            now: as in the constructor.
            positions: where the member stands on its partitions.
            ends: where these partitions end at present.
        """
        stalled: list[int] = []
        if self._ends and self._reads >= MANY_READS:
            stalled = sorted(
                partition
                for partition, position in positions.items()
                if partition not in self._read and position < self._ends.get(partition, 0)
            )
        self._due_at = now + LOOK_EVERY_S
        self._ends = ends
        self._reads = 0
        self._read = set()
        return stalled
