"""From disk to the server: a thread that decides when to send, and what to do when that fails."""

import contextlib
import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Final

from llmring.api.exceptions import APIError
from llmring.api.exchange import full_jitter
from llmring.api.queue.sending import Outcome, send_batch
from llmring.api.queue.store import QueueStore
from llmring.api.queue.tally import Tally
from llmring.api.transport import SyncTransport

log = logging.getLogger("llmring.api")

MAX_BATCH: Final = 1000
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 60.0
_FIRST_REST_S: Final = 60.0
_LONGEST_REST_S: Final = 1800.0
"""How long a refused key rests before it is tried by itself: an account that was suspended may be resumed."""

_MOST_DOUBLINGS: Final = 10
_LOOK_AGAIN_S: Final = 5.0
_WHILE_CLOSING_S: Final = 0.05
_OTHERS_SEND_S: Final = 1.0


class Sender:
    """Sends what is in the store.

    Args:
        store: of the records.
        transport: of its own; closed at the end.
        tally: counts what is sent and refused.
        batch_size: so many are sent at once, as soon as they are there.
        interval_s: for so long a record waits for others.
        is_durable: what is not sent survives this program.
    """

    def __init__(
        self,
        store: QueueStore,
        transport: SyncTransport,
        tally: Tally,
        *,
        batch_size: int,
        interval_s: float,
        is_durable: bool,
    ) -> None:
        self._store = store
        self._transport = transport
        self._tally = tally
        self._batch_size = batch_size
        self._interval_s = interval_s
        self._is_durable = is_durable
        self._tick = threading.Condition()
        self._flushing = 0
        self._give_up_at: float | None = None
        self._is_written = False
        self._attempt = 0
        self._limit = MAX_BATCH
        self._resume_at = 0.0
        self._rests = 0
        self._try_key_at = 0.0
        self.pending = 0
        with contextlib.suppress(sqlite3.Error):
            self.pending = store.count()
        self.stopped: APIError | None = None
        self.last_error: APIError | None = None
        # What another program left behind need not wait for company.
        self._due_at = time.monotonic()

    def note_added(self, count: int) -> None:
        """There is more to send."""
        with self._tick:
            if not self.pending:
                self._due_at = time.monotonic() + self._interval_s
            self.pending += count
            if self.pending >= self._batch_size or self.pending == count:
                self._tick.notify_all()

    def flush(self, deadline: float, ended: Callable[[], bool]) -> None:
        """Send at once what is in the store now, and wait for that until the deadline (monotonic)."""
        last = self._store.last_id()
        with self._tick:
            self._flushing += 1
            self.stopped = None
            self._tick.notify_all()
            try:
                while self._store.count(last) and self.stopped is None and not ended():
                    left = deadline - time.monotonic()
                    if left <= 0:
                        break
                    self._tick.wait(min(left, 0.5))
                self.pending = self._store.count()  # another program may have sent some
            finally:
                self._flushing -= 1

    def close(self, give_up_at: float) -> None:
        """Let `run` end: once all is sent, where that goes well; else when the time (monotonic) has come."""
        with self._tick:
            self._give_up_at = give_up_at
            self._tick.notify_all()

    def note_written(self) -> None:
        """Nothing more will be added."""
        with self._tick:
            self._is_written = True
            self._tick.notify_all()

    def run(self) -> None:
        """Work until closed."""
        while self._wait_until_due():
            outcome, is_idle = Outcome(), True
            try:
                # One record is enough to learn whether a key that was refused is good again.
                rows = self._store.lease(self._limit if self.stopped is None else 1)
                if rows:
                    outcome, is_idle = send_batch(self._transport, rows), False
                    self._store.settle(outcome)
                pending = self._store.count()
            except sqlite3.Error as error:
                self._tally.tell("usage cannot be read from the disk now: %s", error)
                pending = self.pending
            except Exception:
                log.exception("usage could not be sent")
                pending = self.pending
            self._digest(outcome, pending, is_idle=is_idle)
        self._transport.close()

    def _wait_until_due(self) -> bool:
        with self._tick:
            while True:
                now = time.monotonic()
                if self._give_up_at is not None and self._has_done_enough(now, self._give_up_at):
                    return False
                due = self._next_at(now)
                if due <= now:
                    return True
                longest = _LOOK_AGAIN_S if self._give_up_at is None else _WHILE_CLOSING_S
                self._tick.wait(min(due - now, longest))

    def _has_done_enough(self, now: float, give_up_at: float) -> bool:
        if now >= give_up_at or self.stopped is not None:
            return True
        if not self._is_written:
            return False
        # What is on disk is safe there, so a server that is away does not hold up the end of a program.
        is_safe = self._is_durable and self.last_error is not None
        return is_safe or not self.pending or self._resume_at >= give_up_at

    def _next_at(self, now: float) -> float:
        if not self.pending:
            return float("inf")
        if self.stopped is not None:
            return self._try_key_at
        is_wanted = self._flushing or self._give_up_at is not None or self.pending >= self._batch_size
        return max(now if is_wanted else self._due_at, self._resume_at)

    def _digest(self, outcome: Outcome, pending: int, *, is_idle: bool) -> None:
        error = outcome.error
        if outcome.refused:
            self._tally.count_refused(len(outcome.refused), outcome.refused[-1][1])
        self._tally.sent += len(outcome.sent)
        with self._tick:
            now = time.monotonic()
            was_stopped = self.stopped is not None
            self.pending = pending
            self.last_error = error
            self._due_at = now + self._interval_s
            if outcome.is_too_much:
                self._limit = max(1, len(outcome.later) // 2)
            elif is_idle:
                self._attempt = 0
                self._resume_at = self._try_key_at = now + _OTHERS_SEND_S
            elif error is None:
                self._limit = min(MAX_BATCH, self._limit * 2)
                self._attempt = self._rests = 0
                self._resume_at = 0.0
                self.stopped = None
            else:
                pause = full_jitter(self._attempt, _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
                self._resume_at = now + outcome.wait_s + pause
                self._attempt += 1
                self.stopped = error if outcome.is_final else None
                if outcome.is_final:
                    rest = min(_LONGEST_REST_S, _FIRST_REST_S * 2**self._rests)
                    # Not before the server's own time, and never at once.
                    self._try_key_at = now + max(outcome.wait_s, rest * random.uniform(0.5, 1.0))  # noqa: S311
                    self._rests = min(self._rests + 1, _MOST_DOUBLINGS)
            if was_stopped and self.stopped is None:
                self._due_at = now  # the others have waited for long enough
            self._tick.notify_all()
        if error is not None and not outcome.is_too_much:
            self._tally.tell("%d usage records cannot be sent now, and are kept: %s", pending, error)
