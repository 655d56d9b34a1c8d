"""From memory to disk: a thread that writes down whatever has come together, in one transaction."""

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from llmring.api.exchange import full_jitter
from llmring.api.queue.store import NewRow, QueueStore, Row
from llmring.api.queue.tally import Tally

log = logging.getLogger("llmring.api")

MAX_BYTES_IN_MEMORY: Final = 64 * 1024 * 1024
"""Of records that are not on disk yet. So many come together only where the disk does not take them."""

_MAX_GROUP: Final = 1000
_RECORD_BYTES: Final = 300
"""What a record takes in memory besides its body, roughly."""

_GATHER_S: Final = 0.002
_AFTER_FAILURE_S: Final = 0.2
_OPENINGS: Final = 8


class Fresh(NamedTuple):
    """A record that was just queued.

    Attributes:
        made_at: epoch seconds; None where the caller gave a timestamp of its own.
        wrong: why it can never be sent; empty where it can.
    """

    key: str
    body: bytes
    made_at: float | None
    wrong: str


class Writer:
    """Writes records to the store.

    Args:
        path: of the store; None for memory alone, as where it cannot be used.
        max_records: above so many unsent records, the newest are dropped.
        tally: counts what is dropped and set aside.
    """

    def __init__(self, path: Path | None, max_records: int | None, tally: Tally) -> None:
        self.path = path
        self.store: QueueStore | None = None
        self._max_records = max_records
        self._tally = tally
        # In C, so that a record costs a microsecond also where it wakes the thread; None wakes it alone.
        self._fresh: SimpleQueue[Fresh | threading.Event | None] = SimpleQueue()
        self._bytes_put = 0
        self._bytes_taken = 0
        self._closing = False

    def put(self, record: Fresh) -> None:
        """Take a record over. Neither waits nor raises."""
        if self._bytes_put - self._bytes_taken > MAX_BYTES_IN_MEMORY:
            self._tally.count_dropped(1)
        else:
            self._bytes_put += len(record.body) + _RECORD_BYTES
            self._fresh.put(record)

    def count_fresh(self) -> int:
        """How many records are not on disk yet, roughly."""
        return self._fresh.qsize()

    def wait_written(self, timeout_s: float) -> bool:
        """Wait until what was put before is on disk; whether it is."""
        mark = threading.Event()
        self._fresh.put(mark)
        return mark.wait(timeout_s)

    def close(self) -> None:
        """Let `run` end once all is written."""
        self._closing = True
        self._fresh.put(None)

    def run(self, opened: Callable[[QueueStore], None], added: Callable[[int], None]) -> None:
        """Work until closed.

        Args:
            opened: is told of the store.
            added: is told how many records came to it.
        """
        store = self.store = self._open()
        opened(store)
        group: list[Fresh | threading.Event] = []
        while group or not self._closing or not self._fresh.empty():
            group += self._gather(wait=not group)
            if group:
                group = self._write(store, group, added)

    def _gather(self, *, wait: bool) -> list[Fresh | threading.Event]:
        found = [self._fresh.get()] if wait else []
        if not self._closing:
            time.sleep(_GATHER_S)
        with contextlib.suppress(Empty):
            while len(found) < _MAX_GROUP:
                found.append(self._fresh.get_nowait())
        self._bytes_taken += sum(len(each.body) + _RECORD_BYTES for each in found if isinstance(each, Fresh))
        if self._fresh.empty():
            self._bytes_taken = self._bytes_put  # threads that put at once may have counted one as none
        return [each for each in found if each is not None]

    def _open(self) -> QueueStore:
        for attempt in range(_OPENINGS):
            try:
                return QueueStore(self.path, self._max_records)
            except (sqlite3.Error, OSError) as error:
                # Two programs that make one file at once may each find it locked.
                if isinstance(error, sqlite3.OperationalError) and attempt < _OPENINGS - 1:
                    time.sleep(full_jitter(attempt, 0.05, 1.0))
                    continue
                self._tally.tell(
                    "usage is kept in memory alone, since %s cannot be used: %s", self.path, error
                )
                break
        self.path = None
        return QueueStore(None, self._max_records)

    def _write(
        self, store: QueueStore, group: list[Fresh | threading.Event], added: Callable[[int], None]
    ) -> list[Fresh | threading.Event]:
        """Write a group; what is to be written again."""
        records = [each for each in group if isinstance(each, Fresh)]
        rows = [NewRow(each.key, each.body, _instant(each.made_at)) for each in records if not each.wrong]
        wrong = [(Row(0, each.key, each.body, None), each.wrong) for each in records if each.wrong]
        try:
            dropped = store.add(rows, wrong)
        except sqlite3.Error as error:
            self._tally.tell("usage cannot be written down now: %s", error)
            time.sleep(_AFTER_FAILURE_S)
            if not self._closing:
                return group
            self._tally.count_dropped(len(records))
            return []
        except Exception:
            log.exception("usage could not be written down")
            self._tally.count_dropped(len(records))
            return []
        if wrong:
            self._tally.count_refused(len(wrong), wrong[-1][1])
        if dropped:
            self._tally.count_dropped(dropped)
        if rows:
            added(len(rows) - dropped)
        for each in group:
            if isinstance(each, threading.Event):
                each.set()
        return []


def _instant(epoch_s: float | None) -> str | None:
    if epoch_s is None:
        return None
    return datetime.fromtimestamp(epoch_s, UTC).isoformat().replace("+00:00", "Z")
