"""The records that are not sent yet, in a SQLite file that outlives the program and may serve several at
once.

A sender takes records under a lease, so that two programs do not send the same ones. A lease runs out, and
that of a program that has ended on this machine counts no more; a record that is sent twice all the same
counts once, by its idempotency key.
"""

import contextlib
import os
import secrets
import socket
import sqlite3
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from llmring.api.queue.file import QueueFile

LEASE_S: Final = 60.0
MAX_REFUSED: Final = 1000
_MAX_BODY_BYTES: Final = 4 * 1024 * 1024
_LAST_ID: Final = 2**63 - 1
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    idempotency_key TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL,
    stamp TEXT,
    lease_owner TEXT,
    lease_until REAL NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS refused (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    idempotency_key TEXT NOT NULL,
    body BLOB NOT NULL,
    reason TEXT NOT NULL,
    refused_at REAL NOT NULL
);
"""

_OWN: Final[set[str]] = set()
"""The names under which this process holds leases."""


class Row(NamedTuple):
    """A record to be sent.

    Attributes:
        body: a JSON object.
        stamp: when it was made, by this machine's clock; None where the caller gave a timestamp of its own.
    """

    id: int
    key: str
    body: bytes
    stamp: str | None


class NewRow(NamedTuple):
    """A record to be kept."""

    key: str
    body: bytes
    stamp: str | None


class RefusedRow(NamedTuple):
    """A record that the server refuses for good, with its reason, and when it said so (epoch seconds)."""

    key: str
    body: bytes
    reason: str
    refused_at: float


class Settled(Protocol):
    """What became of some rows."""

    sent: list[Row]
    later: list[Row]
    unstamped: list[Row]
    refused: list[tuple[Row, str]]


class QueueStore:
    """One file, open in this process. Any thread may call; nothing here waits for the network.

    Args:
        path: of the file; None for memory alone.
        max_records: above so many nothing more is taken.

    Raises:
        sqlite3.Error: the file cannot be used.
        OSError: its folder cannot be.
    """

    def __init__(self, path: Path | None, max_records: int | None) -> None:
        self._max_records = max_records
        self._count = 0
        self._counted_at = 0.0
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
        self._file = QueueFile(path)
        try:
            with self._file.transaction() as connection:
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
                _free_the_dead(connection)
        except sqlite3.Error:
            self._file.close()
            raise
        _OWN.add(self._owner)

    def add(self, rows: Sequence[NewRow], wrong: Sequence[tuple[Row, str]] = ()) -> int:
        """Keep records; one whose key is there already is the same one. How many found no room.

        Args:
            rows: to be sent.
            wrong: to be set aside at once, each with the reason.
        """
        with self._file.transaction() as connection:
            room = len(rows)
            if self._max_records is not None:
                now = time.monotonic()
                if now - self._counted_at > 1 or self._count + len(rows) > self._max_records:
                    self._count, self._counted_at = _count(connection), now
                room = max(0, self._max_records - self._count)
            taken = rows[:room]
            connection.executemany(
                "INSERT OR IGNORE INTO records (idempotency_key, body, stamp) VALUES (?, ?, ?)", taken
            )
            self._count += len(taken)
            _set_aside(connection, wrong)
        return len(rows) - len(taken)

    def lease(self, limit: int) -> list[Row]:
        """Take the oldest records that nobody else sends now, as many as fit into one request."""
        now = time.time()
        with self._file.transaction() as connection:
            rows = _find_free(connection, now, limit)
            if not rows:
                _free_the_dead(connection)
                rows = _find_free(connection, now, limit)
            connection.executemany(
                "UPDATE records SET lease_owner = ?, lease_until = ? WHERE id = ?",
                [(self._owner, now + LEASE_S, row.id) for row in rows],
            )
        return rows

    def settle(self, outcome: Settled) -> None:
        """Write down what became of leased records. Of those set aside, the newest `MAX_REFUSED` are kept."""
        with self._file.transaction() as connection:
            execute = connection.executemany
            execute("DELETE FROM records WHERE id = ?", _ids(outcome.sent))
            execute("UPDATE records SET lease_until = 0 WHERE id = ?", _ids(outcome.later))
            execute("UPDATE records SET lease_until = 0, stamp = NULL WHERE id = ?", _ids(outcome.unstamped))
            execute("DELETE FROM records WHERE id = ?", _ids(row for row, _ in outcome.refused))
            _set_aside(connection, outcome.refused)

    def count(self, up_to: int = _LAST_ID) -> int:
        """How many records are not sent yet, of all or of those up to an id."""
        with self._file.opened() as connection:
            return _count(connection, up_to)

    def last_id(self) -> int:
        """The newest record's id; 0 without any."""
        with self._file.opened() as connection:
            found: tuple[int | None] = connection.execute("SELECT max(id) FROM records").fetchone()
        return found[0] or 0

    def list_records(self) -> list[Row]:
        """Every record, oldest first."""
        select = "SELECT id, idempotency_key, body, stamp FROM records ORDER BY id"
        with self._file.opened() as connection:
            return [Row(*each) for each in connection.execute(select)]

    def list_refused(self) -> list[RefusedRow]:
        """What was set aside, oldest first."""
        select = "SELECT idempotency_key, body, reason, refused_at FROM refused ORDER BY id"
        with self._file.opened() as connection:
            return [RefusedRow(*each) for each in connection.execute(select)]

    def close(self) -> None:
        """Give leases back and close the file."""
        with contextlib.suppress(sqlite3.Error), self._file.transaction() as connection:
            connection.execute("UPDATE records SET lease_until = 0 WHERE lease_owner = ?", (self._owner,))
        _OWN.discard(self._owner)
        self._file.close()


def _set_aside(connection: sqlite3.Connection, refused: Sequence[tuple[Row, str]]) -> None:
    if not refused:
        return
    now = time.time()
    connection.executemany(
        "INSERT INTO refused (idempotency_key, body, reason, refused_at) VALUES (?, ?, ?, ?)",
        [(row.key, row.body, reason, now) for row, reason in refused],
    )
    newest = "DELETE FROM refused WHERE id <= (SELECT max(id) FROM refused) - ?"
    connection.execute(newest, (MAX_REFUSED,))


def _count(connection: sqlite3.Connection, up_to: int = _LAST_ID) -> int:
    found: tuple[int] = connection.execute("SELECT count(*) FROM records WHERE id <= ?", (up_to,)).fetchone()
    return found[0]


def _find_free(connection: sqlite3.Connection, now: float, limit: int) -> list[Row]:
    found = connection.execute(
        # A lease far ahead was written by a wrong clock.
        """SELECT id, idempotency_key, body, stamp FROM records
           WHERE lease_until <= ? OR lease_until > ? ORDER BY id LIMIT ?""",
        (now, now + 2 * LEASE_S, limit),
    )
    rows: list[Row] = []
    size = 0
    for each in found:
        row = Row(*each)
        size += len(row.body) + 64
        if rows and size > _MAX_BODY_BYTES:
            break
        rows.append(row)
    found.close()
    return rows


def _free_the_dead(connection: sqlite3.Connection) -> None:
    host = socket.gethostname()
    owners = connection.execute("SELECT DISTINCT lease_owner FROM records WHERE lease_until > 0")
    for (owner,) in owners.fetchall():
        where, _, rest = str(owner).rpartition(":")[0].rpartition(":")
        if where == host and rest.isdigit() and not _is_alive(owner, int(rest)):
            connection.execute("UPDATE records SET lease_until = 0 WHERE lease_owner = ?", (owner,))


def _ids(rows: Iterable[Row]) -> list[tuple[int]]:
    return [(row.id,) for row in rows]


def _is_alive(owner: str, process: int) -> bool:
    if process == os.getpid():
        return owner in _OWN  # else our number was another program's before
    if sys.platform == "win32":  # pragma: no cover - there `os.kill` ends the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
