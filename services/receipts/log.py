"""The Merkle log's one writer: it appends leaves in the transaction that issues their receipts.

Whoever appends holds the log's row until the commit, so leaves have one order, without fork or gap, and the
checkpoint that is signed for them is seen by nobody before they are durable.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from services.receipts.signer import Signer, SigningKeyError
from services.receipts.store.keys import list_keys
from services.receipts.store.log import (
    LeafRow,
    LogRow,
    TileRow,
    find_log,
    insert_leaves,
    insert_log,
    insert_tiles,
    list_leaf_hashes,
    list_tile_roots,
    list_unlogged,
    lock_log,
    update_log,
)
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.postgres import Connection, Database
from shared.proofs.signing import SigningKey
from shared.proofs.tlog.checkpoint import Checkpoint, open_checkpoint
from shared.proofs.tlog.frontier import Frontier, Growth, join_hashes
from shared.proofs.tlog.hashing import hash_leaf, root_of_perfect
from shared.proofs.tlog.note import VerifierKey, check_key_name
from shared.proofs.tlog.tiles import TILE_HEIGHT, TILE_WIDTH

_ADOPTED_AT_ONCE: Final = 1_000


class Leaf(NamedTuple):
    """What becomes a leaf: the hash of a receipt's payload, and which receipt it is."""

    leaf_hash: bytes
    account_id: UUID
    receipt_id: UUID


class Adopted(NamedTuple):
    """How far older receipts were brought into the log."""

    account_id: UUID
    receipt_id: UUID


BEFORE_ALL: Final = Adopted(UUID(int=0), UUID(int=0))


class ReceiptLog:
    """The log of this deployment.

    Args:
        database: of the schema `receipts`.
        signer: signs its checkpoints, by the key that signs receipts.
        origin: its name; empty for one made from the first key. It can never be changed.
        clock: dates appends.
    """

    def __init__(self, database: Database, signer: Signer, origin: str, clock: Clock) -> None:
        self._database = database
        self._signer = signer
        self._origin = origin
        self._clock = clock

    async def open(self) -> None:
        """Begin the log at the deployment's first start, after the signing key was opened.

        Raises:
            SigningKeyError: the log has another name than the one that was set, or none can be made of it.
        """
        origin = self._origin or f"llmring-receipts/{self._signer.key.key_id}"
        try:
            check_key_name(origin)
        except ValueError as error:
            raise SigningKeyError(f"the log's origin {origin!r} will not do: {error}") from None
        async with self._database.transaction() as connection:
            checkpoint = _sign(origin, Frontier(), self._signer.key)
            await insert_log(connection, LogRow(origin, 0, b"", checkpoint, self._clock.now()))
            row = await find_log(connection)
        if row is not None and self._origin not in ("", row.origin):
            raise SigningKeyError(
                f"the log of this deployment is {row.origin}; it cannot be renamed to {self._origin}"
            )
        await self.renew_signature()

    async def renew_signature(self) -> None:
        """Sign the newest checkpoint with the current key, if an older key did: it may have been revoked.

        A checkpoint that does not hold is left as it is, for the check to find.
        """
        async with self._database.transaction() as connection:
            row = await lock_log(connection)
            if row is None:
                return
            keys = [VerifierKey(row.origin, key.public_key) for key in await list_keys(connection)]
            try:
                frontier = Frontier.decode(row.tree_size, row.frontier)
                opened = open_checkpoint(row.checkpoint, row.origin, keys)
            except ValueError:  # also NoteError
                return
            signers = {each.key.public_key for each in opened.signatures}
            is_sound = opened.checkpoint == Checkpoint(row.origin, frontier.size, frontier.root)
            if is_sound and self._signer.key.public_key not in signers:
                signed = _sign(row.origin, frontier, self._signer.key)
                await update_log(connection, row._replace(checkpoint=signed))

    async def append(self, connection: Connection, leaves: Sequence[Leaf]) -> None:
        """Append leaves and sign the checkpoint over them.

        Nobody else appends until the transaction ends: it should end soon.

        Args:
            connection: of the transaction that stores these receipts.
            leaves: in their order.

        Raises:
            UnavailableError: the log has not begun, or what is stored of it is damaged: nothing may be built
                on it.
        """
        row = await lock_log(connection)
        if row is None:
            raise UnavailableError("The receipts' log has not begun.")
        before = Frontier.decode(row.tree_size, row.frontier)
        hashes = [leaf.leaf_hash for leaf in leaves]
        growth = before.append(hashes)
        await insert_leaves(
            connection, (LeafRow(index, *leaf) for index, leaf in enumerate(leaves, start=before.size))
        )
        await insert_tiles(connection, await _fill_tiles(connection, before.size, hashes, growth))
        await update_log(
            connection,
            LogRow(
                row.origin,
                growth.frontier.size,
                growth.frontier.encode(),
                _sign(row.origin, growth.frontier, self._signer.key),
                self._clock.now(),
            ),
        )

    async def adopt(self, after: Adopted) -> Adopted | None:
        """Append some of the receipts that were issued before there was a log; None when there are no more.

        Args:
            after: what the call before gave; at first, `BEFORE_ALL`.

        Raises:
            UnavailableError: the database is away, or the key may sign no longer; nothing was appended.
        """
        # As a rule there is nothing to do, and looking takes long: nobody is to wait for that.
        async with self._database.connection() as connection:
            if not await list_unlogged(connection, after, 1):
                return None
        async with self._database.transaction() as connection:
            await self._signer.require_right_to_sign(connection, self._clock.now())
            if await lock_log(connection) is None:
                raise UnavailableError("The receipts' log has not begun.")
            found = await list_unlogged(connection, after, _ADOPTED_AT_ONCE)
            if not found:
                return None
            await self.append(
                connection,
                [Leaf(hash_leaf(each.payload), each.account_id, each.receipt_id) for each in found],
            )
        return Adopted(found[-1].account_id, found[-1].receipt_id)


async def _fill_tiles(
    connection: Connection, old_size: int, leaves: Sequence[bytes], growth: Growth
) -> list[TileRow]:
    """The tiles that became full. Damage shows: each must have the root that the frontier had for it."""
    tiles: list[TileRow] = []
    for node, root in growth.completed:
        level = node.level // TILE_HEIGHT - 1
        start, end = node.number * TILE_WIDTH, (node.number + 1) * TILE_WIDTH
        if level == 0:
            hashes = await list_leaf_hashes(connection, start, old_size) if start < old_size else []
            hashes += leaves[max(start - old_size, 0) : end - old_size]
        else:
            new = [tile for tile in tiles if tile.level == level - 1 and tile.number >= start]
            first_new = new[0].number if new else end
            hashes = await list_tile_roots(connection, level - 1, start, first_new)
            hashes += [tile.root for tile in new]
        if len(hashes) != TILE_WIDTH or root_of_perfect(hashes) != root:
            raise UnavailableError(
                f"The receipts' log is damaged at or before tile {node.number} of level {level}."
            )
        tiles.append(TileRow(level, node.number, root, join_hashes(hashes)))
    return tiles


def _sign(origin: str, frontier: Frontier, key: SigningKey) -> str:
    return Checkpoint(origin, frontier.size, frontier.root).sign(key).encode()
