"""A SQLite file that several threads use, and that no process has open while it forks.

SQLite keeps a process's locks on a file in memory. A forked child would believe that it holds its parent's,
and wait for them for ever, or write without any.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_BUSY_S: Final = 5.0


class QueueFile:
    """One file, opened by its first use.

    Args:
        path: of the file; None for a database in memory, which a forked child does not share.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False
        with _forking:
            _files.add(self)

    @contextlib.contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """The connection, which nobody else uses meanwhile.

        Raises:
            sqlite3.Error: the file cannot be used, or is closed.
        """
        with self._lock:
            if self._is_closed:
                raise sqlite3.ProgrammingError("the queue is closed")
            if self._connection is None:
                self._connection = self._connect()
            yield self._connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction that writes.

        Raises:
            sqlite3.Error: as for `opened`, or another program has been writing for five seconds.
        """
        with self.opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def close(self) -> None:
        """Close it for good."""
        with self._lock:
            self._is_closed = True
            self._disconnect()
        with _forking:
            _files.discard(self)

    def rest(self) -> None:
        """Come to rest before a fork. The next use opens the file again."""
        self._lock.acquire()
        if self._path is not None:
            self._disconnect()

    def resume(self) -> None:
        """Go on after a fork, in the parent."""
        self._lock.release()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> sqlite3.Connection:
        where = self._path or ":memory:"
        connection = sqlite3.connect(where, timeout=_BUSY_S, check_same_thread=False, isolation_level=None)
        try:
            # In WAL mode NORMAL survives the end of any program; a power cut may cost the last moments.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection


_files: set[QueueFile] = set()
_forking = threading.RLock()
"""Held while the process forks, and by whoever changes `_files`; never while waiting for a file."""


def _before() -> None:
    _forking.acquire()
    for file in _files:
        file.rest()


def _in_parent() -> None:
    for file in _files:
        file.resume()
    _forking.release()


def _in_child() -> None:
    _files.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
