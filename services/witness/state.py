"""What the witness has cosigned last, of each log: durable before anybody sees the cosignature."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from services.witness.key_file import WitnessKeyError
from shared.proofs.tlog.note import VerifierKey

_BUSY_S: Final = 5.0

CREATE: Final = """
CREATE TABLE witness (verifier_key TEXT NOT NULL);
CREATE TABLE logs (
    origin TEXT PRIMARY KEY,
    size   INTEGER NOT NULL CHECK (size >= 0),
    root   BLOB NOT NULL CHECK (length(root) = 32),
    note   TEXT NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER logs_only_grow BEFORE UPDATE ON logs WHEN new.size < old.size
    BEGIN SELECT raise(ABORT, 'a log only grows'); END;
CREATE TRIGGER logs_are_kept BEFORE DELETE ON logs
    BEGIN SELECT raise(ABORT, 'a log is never forgotten'); END;
"""

FIND: Final = "SELECT size, root, note FROM logs WHERE origin = ?"

STORE: Final = """
INSERT INTO logs (origin, size, root, note) VALUES (?, ?, ?, ?)
ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root, note = excluded.note
"""


class Cosigned(NamedTuple):
    """A log as it was cosigned last; `note` has the log's own signatures."""

    size: int
    root: bytes
    note: str


class State:
    """The state file of one key. Several processes may share it: they take turns.

    A key without its state would cosign a log that was rewritten. So the two are made together, and a state
    that is not there is a mistake, never a new one.

    Args:
        path: of the file.
        key: of the witness; the file names it too.

    Raises:
        WitnessKeyError: there is no such file, or it is of another key.
    """

    def __init__(self, path: Path, key: VerifierKey) -> None:
        self._path = path
        try:
            with closing(self._connect()) as connection:
                found = connection.execute("SELECT verifier_key FROM witness").fetchone()
        except sqlite3.Error as error:
            raise WitnessKeyError(
                f"{path} is no state of a witness ({error}). It says what this key has cosigned: restore it, "
                "or make a new key. Without it the key might cosign a log that was rewritten"
            ) from None
        if found is None or found[0] != key.text:
            raise WitnessKeyError(f"{path} is the state of another key than {key.text}")

    @classmethod
    def create(cls, path: Path, key: VerifierKey) -> "State":
        """Begin the state of a new key.

        Raises:
            WitnessKeyError: there is such a file already, or it cannot be made.
        """
        cls.require_none(path)
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(f"BEGIN;{CREATE}")
                connection.execute("INSERT INTO witness VALUES (?)", (key.text,))
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise WitnessKeyError(f"{path} cannot be made: {error}") from None
        return cls(path, key)

    @staticmethod
    def require_none(path: Path) -> None:
        """Make sure that a state can be begun there.

        Raises:
            WitnessKeyError: one is there already.
        """
        if path.exists():
            raise WitnessKeyError(f"{path} is there already: it is the state of another key")

    def find(self, origin: str) -> Cosigned | None:
        """A log as it was cosigned last, or None where it never was."""
        with closing(self._connect()) as connection:
            return _find(connection, origin)

    @contextmanager
    def turn(self, origin: str) -> Iterator["Turn"]:
        """Be the only one that decides, until the block ends; what was stored is on the disk then.

        Raises:
            sqlite3.Error: others took too long, or the disk does not do.
        """
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Turn(connection, origin)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_S, isolation_level=None
        )
        connection.execute("PRAGMA synchronous = FULL")  # in WAL mode: each commit is on the disk
        return connection


class Turn:
    """One decision about one log; made by `State.turn`."""

    def __init__(self, connection: sqlite3.Connection, origin: str) -> None:
        self._connection = connection
        self._origin = origin
        self.latest = _find(connection, origin)

    def store(self, cosigned: Cosigned) -> None:
        """Remember what is about to be cosigned."""
        self._connection.execute(STORE, (self._origin, *cosigned))


def _find(connection: sqlite3.Connection, origin: str) -> Cosigned | None:
    row = connection.execute(FIND, (origin,)).fetchone()
    return None if row is None else Cosigned(*row)
