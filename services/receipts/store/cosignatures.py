"""Checkpoints that witnesses are asked about, their cosignatures, and how far each witness is."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from shared.postgres import Connection

CANDIDATES_LOCK: Final = 7_301_155_204_118_006_541
"""The advisory lock of whoever chooses what witnesses are asked next."""


class CheckpointRow(NamedTuple):
    """A checkpoint of the log; `note` as the log signed it."""

    tree_size: int
    note: str


class Candidate(NamedTuple):
    """The checkpoint that witnesses are asked to cosign, and how long ago it was made."""

    tree_size: int
    note: str
    age: timedelta


class WitnessRow(NamedTuple):
    """How far a witness is.

    Attributes:
        tree_size: of the largest checkpoint that it cosigned; 0 for none.
        cosigned_at: when it did, by its own clock.
        waiting: for how long there has been a larger one.
        fault: why the last question was in vain.
    """

    witness: str
    tree_size: int
    cosigned_at: datetime | None
    waiting: timedelta | None
    fault: str | None


LOCK_CANDIDATES: Final = "SELECT pg_advisory_xact_lock($1)"


async def lock_candidates(connection: Connection) -> None:
    """Be the only one that chooses, until the transaction ends."""
    await connection.execute(LOCK_CANDIDATES, CANDIDATES_LOCK)


FIND_CANDIDATE: Final = """
SELECT tree_size, note, now() - made_at FROM receipts.checkpoints ORDER BY tree_size DESC LIMIT 1
"""


async def find_candidate(connection: Connection) -> Candidate | None:
    """The newest checkpoint that witnesses are asked about, or None before the first one."""
    row = await connection.fetchrow(FIND_CANDIDATE)
    return None if row is None else Candidate(*row.values())


INSERT_CHECKPOINT: Final = """
INSERT INTO receipts.checkpoints (tree_size, note) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""
START_WAITING: Final = """
UPDATE receipts.witnesses SET waiting_since = now()
 WHERE waiting_since IS NULL AND tree_size < (SELECT max(tree_size) FROM receipts.checkpoints)
"""


async def insert_checkpoint(connection: Connection, row: CheckpointRow) -> None:
    """Ask for cosignatures of a checkpoint; witnesses that have not got so far are waited for."""
    await connection.execute(INSERT_CHECKPOINT, *row)
    await connection.execute(START_WAITING)


INSERT_COSIGNATURE: Final = """
INSERT INTO receipts.cosignatures (tree_size, witness, line, cosigned_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (tree_size, witness) DO UPDATE SET line = excluded.line, cosigned_at = excluded.cosigned_at
 WHERE receipts.cosignatures.cosigned_at < excluded.cosigned_at
"""
ADVANCE_WITNESS: Final = """
INSERT INTO receipts.witnesses AS w (witness, tree_size, cosigned_at) VALUES ($1, $2, $3)
ON CONFLICT (witness) DO UPDATE
   SET tree_size = excluded.tree_size, cosigned_at = excluded.cosigned_at, fault = NULL, next_ask_at = now(),
       waiting_since = CASE WHEN excluded.tree_size < (SELECT max(tree_size) FROM receipts.checkpoints)
                            THEN w.waiting_since END
 WHERE w.tree_size <= excluded.tree_size
"""


async def insert_cosignature(
    connection: Connection, tree_size: int, witness: str, line: str, cosigned_at: datetime
) -> None:
    """Store a verified cosignature of a stored checkpoint."""
    await connection.execute(INSERT_COSIGNATURE, tree_size, witness, line, cosigned_at)
    await connection.execute(ADVANCE_WITNESS, witness, tree_size, cosigned_at)


LIST_LINES: Final = """
SELECT line FROM receipts.cosignatures
 WHERE tree_size = $1 AND witness = ANY($2::text[]) ORDER BY array_position($2::text[], witness)
"""


async def list_lines(connection: Connection, tree_size: int, witnesses: Sequence[str]) -> list[str]:
    """The cosignatures of the checkpoint of exactly this size, in the order of the witnesses."""
    return [row[0] for row in await connection.fetch(LIST_LINES, tree_size, list(witnesses))]


FIND_WITNESSED: Final = """
SELECT c.tree_size, c.note
  FROM receipts.checkpoints c JOIN receipts.cosignatures s USING (tree_size)
 WHERE s.witness = ANY($1::text[])
 GROUP BY c.tree_size HAVING count(*) >= $2 ORDER BY c.tree_size DESC LIMIT 1
"""


async def find_witnessed(
    connection: Connection, witnesses: Sequence[str], quorum: int
) -> CheckpointRow | None:
    """The newest checkpoint that so many of these witnesses have cosigned."""
    row = await connection.fetchrow(FIND_WITNESSED, list(witnesses), quorum)
    return None if row is None else CheckpointRow(*row.values())


FIND_AGE: Final = "SELECT now() - min(made_at) FROM receipts.checkpoints WHERE tree_size > $1"


async def find_unwitnessed_age(connection: Connection, witnessed_size: int) -> timedelta | None:
    """How long there has been a checkpoint beyond the witnessed one; None where there is none."""
    age: timedelta | None = await connection.fetchval(FIND_AGE, witnessed_size)
    return age


DELETE_OVERTAKEN: Final = "DELETE FROM receipts.checkpoints WHERE tree_size < $1"


async def delete_overtaken(connection: Connection, witnessed_size: int) -> None:
    """Forget checkpoints that are older than the newest witnessed one."""
    await connection.execute(DELETE_OVERTAKEN, witnessed_size)


INSERT_WITNESSES: Final = """
INSERT INTO receipts.witnesses (witness) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING
"""


async def insert_witnesses(connection: Connection, witnesses: Sequence[str]) -> None:
    """Begin to follow how far these witnesses are."""
    await connection.execute(INSERT_WITNESSES, list(witnesses))
    await connection.execute(START_WAITING)


LIST_WITNESSES: Final = """
SELECT witness, tree_size, cosigned_at, now() - waiting_since, fault
  FROM receipts.witnesses WHERE witness = ANY($1::text[]) ORDER BY array_position($1::text[], witness)
"""


async def list_witnesses(connection: Connection, witnesses: Sequence[str]) -> list[WitnessRow]:
    """How far each of these witnesses is, as far as that is known."""
    return [WitnessRow(*row.values()) for row in await connection.fetch(LIST_WITNESSES, list(witnesses))]


CLAIM_WITNESS: Final = """
UPDATE receipts.witnesses SET next_ask_at = now() + $2
 WHERE witness = $1 AND next_ask_at <= now()
   AND tree_size < (SELECT max(tree_size) FROM receipts.checkpoints)
RETURNING tree_size
"""


async def claim_witness(connection: Connection, witness: str, lease: timedelta) -> int | None:
    """Be the only one that asks a witness, for so long; what it has cosigned. None: it is not to be asked."""
    size: int | None = await connection.fetchval(CLAIM_WITNESS, witness, lease)
    return size


RELEASE_WITNESS: Final = """
UPDATE receipts.witnesses SET next_ask_at = now() + $2, fault = $3 WHERE witness = $1
"""


async def release_witness(connection: Connection, witness: str, pause: timedelta, fault: str | None) -> None:
    """Let others ask it again after a pause, and remember why this time was in vain."""
    await connection.execute(RELEASE_WITNESS, witness, pause, fault)
