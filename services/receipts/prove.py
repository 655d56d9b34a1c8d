"""Reading the Merkle log: its checkpoint, its tiles, and proofs over it."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

from services.receipts.read import no_such_receipt, parse_receipt_id
from services.receipts.store.keys import list_keys
from services.receipts.store.log import (
    LogRow,
    find_leaf_place,
    find_log,
    list_leaf_hashes,
    list_tile_roots,
    list_tiles,
)
from shared.contracts.receipts import Consistency, Inclusion
from shared.errors import InvalidFieldError, NotFoundError, UnavailableError
from shared.postgres import Connection, Database
from shared.proofs.signing import encode_base64
from shared.proofs.tlog.frontier import Frontier, join_hashes, split_hashes
from shared.proofs.tlog.hashing import EMPTY_ROOT, Node, cover, root_of_perfect
from shared.proofs.tlog.note import VerifierKey
from shared.proofs.tlog.proofs import Plan, carry_out, plan_consistency, plan_inclusion
from shared.proofs.tlog.tiles import TILE_WIDTH, Tile, find_tile, is_within

_KEPT_TILES: Final = 1_024
"""Tiles kept in memory: 8 MiB of hashes."""
_SOON: Final = timedelta(seconds=10)


class SizedCheckpoint(NamedTuple):
    """A signed checkpoint of this log and its size."""

    tree_size: int
    note: str


class _Asked(NamedTuple):
    """A node that is made from some hashes of a tile."""

    node: Node
    part: slice


class Proving:
    """Answers what can be proved over the log.

    Args:
        database: of the schema `receipts`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tiles: OrderedDict[tuple[int, int], tuple[bytes, ...]] = OrderedDict()

    async def get_log(self) -> LogRow:
        """The log as it stands.

        Raises:
            UnavailableError: it has not begun.
        """
        async with self._database.connection() as connection:
            return await _get_log(connection)

    async def list_verifier_keys(self) -> list[VerifierKey]:
        """The keys that ever signed checkpoints, as notes' verifiers read them, oldest first."""
        async with self._database.connection() as connection:
            origin = (await _get_log(connection)).origin
            return [VerifierKey(origin, row.public_key) for row in await list_keys(connection)]

    async def prove_inclusion(
        self, account_id: UUID, receipt_id: str, within: SizedCheckpoint | None = None
    ) -> Inclusion:
        """That a receipt of the account is in the log, as a checkpoint has it; by default the newest one.

        Raises:
            NotFoundError: the account has no such receipt.
            UnavailableError: it will soon be there, and is not yet.
        """
        async with self._database.connection() as connection:
            place = await find_leaf_place(connection, account_id, parse_receipt_id(receipt_id))
            if place is None:
                raise no_such_receipt()
            leaf_index, log = place.leaf_index, _require_log(place.log)
            size, checkpoint = within or (log.tree_size, log.checkpoint)
            if leaf_index is None or size > log.tree_size:
                raise UnavailableError("The receipt is not in the log yet.")
            if leaf_index >= size:
                raise UnavailableError("The receipt is younger than that checkpoint.", retry_after=_SOON)
            plan = plan_inclusion(leaf_index, size)
            proof = carry_out(plan, await self._collect(connection, plan, log))
        return Inclusion(
            leaf_index=leaf_index,
            tree_size=size,
            hashes=[encode_base64(each) for each in proof],
            checkpoint=checkpoint,
        )

    async def compute_root(self, size: int) -> bytes | None:
        """The root that the log had when it had so many leaves; None where it has not got so far."""
        async with self._database.connection() as connection:
            log = await _get_log(connection)
            if size > log.tree_size:
                return None
            if size == 0:
                return EMPTY_ROOT
            plan = [tuple(cover(0, size))]
            [root] = carry_out(plan, await self._collect(connection, plan, log))
        return root

    async def prove_consistency(self, old_size: int, size: int | None) -> Consistency:
        """That the tree of one size begins with that of another; `size` None is the newest checkpoint's.

        Raises:
            InvalidFieldError: the sizes are in the wrong order, or the log is not that large.
        """
        async with self._database.connection() as connection:
            log = await _get_log(connection)
            new_size = log.tree_size if size is None else size
            if new_size > log.tree_size:
                raise InvalidFieldError.of("to", f"must not be more than the log's size, {log.tree_size}")
            if old_size > new_size:
                raise InvalidFieldError.of("from", f"must not be more than {new_size}")
            plan = plan_consistency(old_size, new_size)
            proof = carry_out(plan, await self._collect(connection, plan, log))
        return Consistency(
            old_size=old_size,
            tree_size=new_size,
            hashes=[encode_base64(each) for each in proof],
            checkpoint=log.checkpoint if new_size == log.tree_size else None,
        )

    async def read_tile(self, tile: Tile) -> bytes:
        """The hashes of a tile one after the other.

        Raises:
            NotFoundError: the log has not got so far.
        """
        async with self._database.connection() as connection:
            if not is_within(tile, (await _get_log(connection)).tree_size):
                raise NotFoundError("The log has no such tile yet.")
            hashes = await self._read_hashes(connection, [tile])
        return join_hashes(hashes[tile])

    async def _collect(self, connection: Connection, plan: Plan, log: LogRow) -> Mapping[Node, bytes]:
        """The hashes of all nodes of a plan, from the log's right edge where it has them, else from tiles."""
        edge = Frontier.decode(log.tree_size, log.frontier).hashes
        found = dict(zip(cover(0, log.tree_size), edge, strict=True))
        asked: dict[Tile, list[_Asked]] = defaultdict(list)
        for node in {node for nodes in plan for node in nodes} - found.keys():
            tile, part = find_tile(node, log.tree_size)
            asked[tile].append(_Asked(node, part))
        for tile, hashes in (await self._read_hashes(connection, asked)).items():
            for node, part in asked[tile]:
                found[node] = root_of_perfect(list(hashes[part]))
        return found

    async def _read_hashes(
        self, connection: Connection, tiles: Iterable[Tile]
    ) -> dict[Tile, tuple[bytes, ...]]:
        read: dict[Tile, tuple[bytes, ...]] = {}
        missing: list[Tile] = []
        for tile in tiles:
            # The beginning of a tile never changes, so what was read of a partial one stays true of it.
            kept = self._tiles.get((tile.level, tile.number), ())
            if len(kept) >= tile.width:
                self._tiles.move_to_end((tile.level, tile.number))
                read[tile] = kept[: tile.width]
            elif tile.width < TILE_WIDTH:
                read[tile] = self._keep(tile, await _read_partial(connection, tile))
            else:
                missing.append(tile)
        if missing:
            for row in await list_tiles(connection, [(tile.level, tile.number) for tile in missing]):
                tile = Tile(row.level, row.number)
                read[tile] = self._keep(tile, split_hashes(row.hashes))
        if any(len(read.get(tile, ())) != tile.width for tile in (*read, *missing)):
            raise UnavailableError("The receipts' log is damaged.")
        return read

    def _keep(self, tile: Tile, hashes: tuple[bytes, ...]) -> tuple[bytes, ...]:
        self._tiles[tile.level, tile.number] = hashes
        self._tiles.move_to_end((tile.level, tile.number))
        if len(self._tiles) > _KEPT_TILES:
            self._tiles.popitem(last=False)
        return hashes


async def _get_log(connection: Connection) -> LogRow:
    return _require_log(await find_log(connection))


def _require_log(row: LogRow | None) -> LogRow:
    if row is None:
        raise UnavailableError("The receipts' log has not begun.")
    return row


async def _read_partial(connection: Connection, tile: Tile) -> tuple[bytes, ...]:
    start = tile.number * TILE_WIDTH
    if tile.level == 0:
        return tuple(await list_leaf_hashes(connection, start, start + tile.width))
    return tuple(await list_tile_roots(connection, tile.level - 1, start, start + tile.width))
