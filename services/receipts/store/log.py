"""The Merkle log's own tables: its one row, its full tiles, and which receipt is which leaf."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from shared.postgres import Connection


class LogRow(NamedTuple):
    """The log as it stands. `frontier` and `checkpoint` are of `tree_size`."""

    origin: str
    tree_size: int
    frontier: bytes
    checkpoint: str
    appended_at: datetime


class TileRow(NamedTuple):
    """A full tile."""

    level: int
    number: int
    root: bytes
    hashes: bytes


class LeafRow(NamedTuple):
    """A leaf, and the receipt that it is."""

    leaf_index: int
    leaf_hash: bytes
    account_id: UUID
    receipt_id: UUID


class Unlogged(NamedTuple):
    """A receipt that is in no log yet."""

    account_id: UUID
    receipt_id: UUID
    payload: bytes


INSERT_LOG: Final = """
INSERT INTO receipts.log (origin, tree_size, frontier, checkpoint, appended_at)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
"""


async def insert_log(connection: Connection, row: LogRow) -> None:
    """Begin the log, unless it has begun."""
    await connection.execute(INSERT_LOG, *row)


FIND_LOG: Final = "SELECT origin, tree_size, frontier, checkpoint, appended_at FROM receipts.log"


async def find_log(connection: Connection) -> LogRow | None:
    """The log as it stands, or None before it has begun."""
    row = await connection.fetchrow(FIND_LOG)
    return None if row is None else LogRow(*row.values())


LOCK_LOG: Final = f"{FIND_LOG} FOR UPDATE"


async def lock_log(connection: Connection) -> LogRow | None:
    """The log as it stands. Nobody else appends to it until the transaction ends."""
    row = await connection.fetchrow(LOCK_LOG)
    return None if row is None else LogRow(*row.values())


UPDATE_LOG: Final = """
UPDATE receipts.log SET tree_size = $1, frontier = $2, checkpoint = $3, appended_at = $4
"""


async def update_log(connection: Connection, row: LogRow) -> None:
    """Store what the log has become. Its row must be locked."""
    await connection.execute(UPDATE_LOG, row.tree_size, row.frontier, row.checkpoint, row.appended_at)


INSERT_TILES: Final = """
INSERT INTO receipts.tiles (level, number, root, hashes)
SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[], $4::bytea[])
"""


async def insert_tiles(connection: Connection, tiles: Sequence[TileRow]) -> None:
    """Store full tiles, which nobody has stored before."""
    if tiles:
        await connection.execute(INSERT_TILES, *map(list, zip(*tiles, strict=True)))


LIST_TILES: Final = """
SELECT t.level, t.number, t.root, t.hashes
FROM unnest($1::smallint[], $2::bigint[]) AS asked (level, number)
JOIN receipts.tiles t USING (level, number)
"""


async def list_tiles(connection: Connection, places: Sequence[tuple[int, int]]) -> list[TileRow]:
    """The full tiles at these levels and numbers, as far as they are stored."""
    rows = await connection.fetch(LIST_TILES, [place[0] for place in places], [place[1] for place in places])
    return [TileRow(*row.values()) for row in rows]


LIST_TILE_ROOTS: Final = """
SELECT root FROM receipts.tiles WHERE level = $1 AND number >= $2 AND number < $3 ORDER BY number
"""


async def list_tile_roots(connection: Connection, level: int, start: int, end: int) -> list[bytes]:
    """The roots of the full tiles of a level from one number to another, exclusive."""
    return [row[0] for row in await connection.fetch(LIST_TILE_ROOTS, level, start, end)]


async def insert_leaves(connection: Connection, leaves: Iterable[LeafRow]) -> None:
    """Store the next leaves. The log's row must be locked."""
    await connection.copy_records_to_table(
        "leaves", schema_name="receipts", columns=LeafRow._fields, records=leaves
    )


LIST_LEAF_HASHES: Final = """
SELECT leaf_hash FROM receipts.leaves WHERE leaf_index >= $1 AND leaf_index < $2 ORDER BY leaf_index
"""


async def list_leaf_hashes(connection: Connection, start: int, end: int) -> list[bytes]:
    """The hashes of the leaves from one index to another, exclusive; no more than a tile is meant."""
    return [row[0] for row in await connection.fetch(LIST_LEAF_HASHES, start, end)]


class LeafPlace(NamedTuple):
    """Where a receipt is, at one moment.

    Attributes:
        leaf_index: None where it is in no log yet.
        log: None before it has begun.
    """

    leaf_index: int | None
    log: LogRow | None


FIND_LEAF_PLACE: Final = """
SELECT l.leaf_index, g.origin, g.tree_size, g.frontier, g.checkpoint, g.appended_at
FROM receipts.receipts r
LEFT JOIN receipts.leaves l USING (account_id, receipt_id)
LEFT JOIN receipts.log g ON true
WHERE r.account_id = $1 AND r.receipt_id = $2
"""


async def find_leaf_place(connection: Connection, account_id: UUID, receipt_id: UUID) -> LeafPlace | None:
    """Which leaf a receipt is, and the log as it stands; None where the account has no such receipt."""
    row = await connection.fetchrow(FIND_LEAF_PLACE, account_id, receipt_id)
    if row is None:
        return None
    leaf_index, *log = row.values()
    return LeafPlace(leaf_index, None if log[0] is None else LogRow(*log))


LIST_UNLOGGED: Final = """
SELECT account_id, receipt_id, payload FROM receipts.receipts r
WHERE (account_id, receipt_id) > ($1, $2)
  AND NOT EXISTS (
      SELECT FROM receipts.leaves l WHERE (l.account_id, l.receipt_id) = (r.account_id, r.receipt_id))
ORDER BY account_id, receipt_id LIMIT $3
"""


async def list_unlogged(connection: Connection, after: tuple[UUID, UUID], limit: int) -> list[Unlogged]:
    """Receipts from before there was a log, behind one of them. Who appends them must hold the log's row.

    Args:
        after: an account id and a receipt id.
    """
    return [Unlogged(*row.values()) for row in await connection.fetch(LIST_UNLOGGED, *after, limit)]
