"""Usage that is sent in the background.

`put` encodes a record and appends it to a list in memory: microseconds. A thread writes that list to the
store, all that has come together at once, within milliseconds; from then on the record survives the end of
the program. Another thread sends what is in the store.
"""

import atexit
import itertools
import logging
import os
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from llmring.api.models import encode_fields
from llmring.api.models.usage import USAGE_FIELDS
from llmring.api.queue.sender import MAX_BATCH, Sender
from llmring.api.queue.store import QueueStore, RefusedRow, Row
from llmring.api.queue.tally import Tally
from llmring.api.queue.writer import Fresh, Writer
from llmring.api.transport import SyncTransport

log = logging.getLogger("llmring.api")

MAX_RECORD_BYTES: Final = 64 * 1024


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """Where the queue stands.

    Attributes:
        pending: not sent yet, those that another program left behind included.
        sent: by this program.
        refused: for good, seen by this program; `list_refused` has them.
        dropped: lost, since the queue was full.
        stopped_by: why nothing is sent, such as a bad key. The records are kept. `flush` tries again at once,
            and the queue by itself after minutes.
        last_error: why the last attempt failed; None after a good one.
        path: of the file; None where the records are in memory alone.
    """

    pending: int
    sent: int
    refused: int
    dropped: int
    stopped_by: str | None
    last_error: str | None
    path: Path | None


class UsageQueue:
    """The queue. Every method may be called from any thread. Threads start with the first record.

    Args:
        transport: by which it is sent; None for a queue that only keeps.
        path: of the file; None for memory alone, as where the file cannot be used.
        batch_size: so many are sent at once, as soon as they are there.
        interval_s: for so long a record waits for others.
        max_records: not sent yet. Above that the newest are dropped and counted.
    """

    def __init__(
        self,
        transport: SyncTransport | None,
        path: Path | None,
        *,
        batch_size: int = 200,
        interval_s: float = 5.0,
        max_records: int | None = 100_000,
    ) -> None:
        self._transport = transport
        self._path = path
        self._batch_size = max(1, min(batch_size, MAX_BATCH))
        self._interval_s = interval_s
        self._max_records = max_records
        self._reset()
        _all.add(self)
        if transport is not None and path is not None and path.exists():
            self._start()  # a program before this one may have left something behind

    def _reset(self) -> None:
        # Random once for each process; a number costs less than asking the system for randomness each time.
        self._prefix = f"{secrets.token_hex(16)}-"
        self._numbers = itertools.count()
        self._tally = Tally()
        self._writer = Writer(self._path, self._max_records, self._tally)
        self._sender: Sender | None = None
        self._starting = threading.Lock()
        self._opened = threading.Event()
        self._threads: list[threading.Thread] = []
        self._is_running = self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether what is put now is lost."""
        return self._is_closed

    def put(self, fields: Mapping[str, Any]) -> str:
        """Queue a record. It never raises and never waits.

        Returns its idempotency key, made here unless it has one.
        """
        key = ""
        try:
            record = {name: value for name, value in fields.items() if value is not None}
            key = str(record.setdefault("idempotency_key", f"{self._prefix}{next(self._numbers):x}"))
            if self._is_closed:
                self._tally.count_dropped(1)
                return key
            made_at = None if "timestamp" in record else time.time()
            wrong, body = "", b""
            if record.keys() <= USAGE_FIELDS:
                try:
                    body = encode_fields(record)
                except Exception as error:
                    wrong = f"it has no JSON form: {error}"
                if len(body) > MAX_RECORD_BYTES:
                    wrong, body = f"it is larger than {MAX_RECORD_BYTES} bytes", body[:MAX_RECORD_BYTES]
            else:
                wrong = f"no such fields: {', '.join(sorted(map(str, record.keys() - USAGE_FIELDS)))}"
            if wrong:
                key, wrong = _storable(key), _storable(wrong)
            self._writer.put(Fresh(key, body, made_at, wrong))
            if not self._is_running:
                self._start()
        except Exception:
            log.exception("a usage record could not be queued")
        return key

    def persist(self, timeout_s: float = 5.0) -> bool:
        """Wait until what was queued before is on disk; whether it is."""
        if not self._is_running or self._is_closed:
            return not self._writer.count_fresh()
        return self._writer.wait_written(timeout_s)

    def flush(self, timeout_s: float = 30.0) -> QueueState:
        """Send what was queued before, and wait until the server has it; then say how the queue stands.

        Sending that had stopped is tried again. What the server asks to wait is waited, within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        self.persist(timeout_s)
        if self._sender is not None and not self._is_closed:
            try:
                self._sender.flush(deadline, lambda: self._is_closed)
            except sqlite3.Error as error:
                self._tally.tell("usage cannot be read from the disk now: %s", error)
        return self.state()

    def close(self, timeout_s: float = 5.0) -> QueueState:
        """Write down what was queued, send what can be sent within the time, and stop.

        What is not sent stays on disk. Where the server does not answer, the rest of the time is not waited.
        """
        with self._starting:
            if self._is_closed:
                return self.state()
            was_running, self._is_running = self._is_running, False
            self._is_closed = True
        _open.discard(self)
        if not was_running:
            return self.state()
        give_up_at = time.monotonic() + timeout_s
        self._opened.wait(timeout_s)
        self._writer.close()
        if self._sender is not None:
            self._sender.close(give_up_at)
        for thread in self._threads:
            thread.join(max(0.0, give_up_at - time.monotonic()) + 1)
        state = self.state()
        if self._writer.store is not None and not any(thread.is_alive() for thread in self._threads):
            self._writer.store.close()
        return state

    def state(self) -> QueueState:
        """How the queue stands now."""
        sender, tally = self._sender, self._tally
        stopped, last_error = (sender.stopped, sender.last_error) if sender is not None else (None, None)
        return QueueState(
            pending=self._writer.count_fresh() + (sender.pending if sender is not None else 0),
            sent=tally.sent,
            refused=tally.refused,
            dropped=tally.dropped,
            stopped_by=None if stopped is None else stopped.detail,
            last_error=None if last_error is None else last_error.detail,
            path=self._writer.path,
        )

    def list_records(self) -> list[Row]:
        """What is not sent yet, oldest first."""
        store = self._open_store()
        return [] if store is None else store.list_records()

    def list_refused(self) -> list[RefusedRow]:
        """What was refused for good, the newest thousand, oldest first."""
        store = self._open_store()
        return [] if store is None else store.list_refused()

    def _open_store(self) -> QueueStore | None:
        if self._is_closed:
            return None
        if not self._is_running and self._path is not None and self._path.exists():
            self._start()
        self.persist()
        return self._writer.store

    def _start(self) -> None:
        with self._starting:
            if self._is_running or self._is_closed:
                return
            self._is_running = True
            self._threads = [threading.Thread(target=self._write, name="llmring-api-writer", daemon=True)]
            if self._transport is not None:
                self._threads.append(
                    threading.Thread(target=self._send, name="llmring-api-sender", daemon=True)
                )
            _open.add(self)
            for thread in self._threads:
                thread.start()

    def _write(self) -> None:
        def opened(store: QueueStore) -> None:
            if self._transport is not None:
                self._sender = Sender(
                    store,
                    self._transport,
                    self._tally,
                    batch_size=self._batch_size,
                    interval_s=self._interval_s,
                    is_durable=self._writer.path is not None,
                )
            self._opened.set()

        def added(count: int) -> None:
            if self._sender is not None:
                self._sender.note_added(count)

        self._writer.run(opened, added)
        if self._sender is not None:
            self._sender.note_written()

    def _send(self) -> None:
        self._opened.wait()
        if self._sender is not None:
            self._sender.run()

    def _forget(self) -> None:
        """In a forked child: threads are gone, and what the parent has queued is the parent's to send."""
        self._reset()


def _storable(text: str) -> str:
    return text.encode(errors="replace").decode()


_all: weakref.WeakSet[UsageQueue] = weakref.WeakSet()
_open: set[UsageQueue] = set()


@atexit.register
def _close_all() -> None:
    for queue in list(_open):
        queue.close()


def _forget_all() -> None:
    for queue in list(_all):
        queue._forget()  # noqa: SLF001 - of this module
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
