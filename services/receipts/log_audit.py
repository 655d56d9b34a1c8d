"""Whether the Merkle log is what its receipts make: every leaf, every tile, the root and the signatures."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from services.receipts.store.audit import LeafFound, list_leaves
from services.receipts.store.keys import list_keys
from services.receipts.store.log import LogRow, find_log, list_tiles
from shared.postgres import Connection
from shared.proofs.signing import verify
from shared.proofs.tlog.checkpoint import Checkpoint, open_checkpoint
from shared.proofs.tlog.frontier import Frontier, join_hashes
from shared.proofs.tlog.hashing import Node, hash_leaf
from shared.proofs.tlog.note import NoteError, VerifierKey
from shared.proofs.tlog.tiles import TILE_HEIGHT, TILE_WIDTH

LogFaultKind = Literal["receipt_forged", "log_leaf", "log_tree"]

_YIELD_EVERY: Final = 100


class _Stating(msgspec.Struct):
    key_id: str


_stating_decoder = msgspec.json.Decoder(_Stating)


class LogFault(NamedTuple):
    """Something that is not as it must be.

    Attributes:
        kind: `receipt_forged`: the signature is not one over the payload by the key that it names.
            `log_leaf`: a leaf is not the hash of its receipt's payload, has no receipt, or a receipt is no
            leaf. `log_tree`: the leaves do not make the tiles, the tree or the signed checkpoint.
    """

    kind: LogFaultKind
    account_id: UUID | None
    detail: str


class LogCheck:
    """One walk through the log, in a transaction that sees one instant.

    Args:
        connection: of that transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._frontier = Frontier()
        self._roots: dict[int, list[bytes]] = {}
        self._tile: list[bytes] = []
        self._has_gap = False

    async def check(self) -> AsyncIterator[LogFault]:
        """Everything that is wrong."""
        keys = {row.key_id: row.public_key for row in await list_keys(self._connection)}
        async for rows in list_leaves(self._connection):
            for number, row in enumerate(rows):
                if number % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                if (fault := _judge(row, keys)) is not None:
                    yield fault
                if row.leaf_index is not None and row.leaf_hash is not None and not self._has_gap:
                    async for fault in self._grow(row.leaf_index, row.leaf_hash):
                        yield fault
        log = await find_log(self._connection)
        if log is not None and not self._has_gap:
            for detail in self._compare(log, [VerifierKey(log.origin, key) for key in keys.values()]):
                yield LogFault("log_tree", None, detail)

    async def _grow(self, leaf_index: int, leaf_hash: bytes) -> AsyncIterator[LogFault]:
        if leaf_index != self._frontier.size:
            self._has_gap = True
            yield LogFault("log_tree", None, f"leaf {self._frontier.size} is missing")
            return
        self._frontier, completed = self._frontier.append([leaf_hash])
        self._tile.append(leaf_hash)
        for node, root in completed:
            level = node.level // TILE_HEIGHT - 1
            below = self._tile if level == 0 else self._roots[level - 1]
            async for fault in self._compare_tile(Node(level, node.number), root, below[-TILE_WIDTH:]):
                yield fault
            if level == 0:
                self._tile.clear()
            self._roots.setdefault(level, []).append(root)

    async def _compare_tile(self, place: Node, root: bytes, hashes: list[bytes]) -> AsyncIterator[LogFault]:
        stored = await list_tiles(self._connection, [place])
        if not stored or (stored[0].root, stored[0].hashes) != (root, join_hashes(hashes)):
            yield LogFault("log_tree", None, f"tile {place.number} of level {place.level} is not its leaves'")

    def _compare(self, log: LogRow, keys: list[VerifierKey]) -> list[str]:
        found: list[str] = []
        size = self._frontier.size
        if (log.tree_size, log.frontier) != (size, self._frontier.encode()):
            found.append(f"the tree of {log.tree_size} leaves is not what its {size} leaves make")
        try:
            signed = open_checkpoint(log.checkpoint, log.origin, keys).checkpoint
        except NoteError as error:
            return [*found, f"the checkpoint will not do: {error}"]
        if signed != Checkpoint(log.origin, size, self._frontier.root):
            found.append(
                f"the checkpoint of {signed.size} leaves is not that of the {self._frontier.size} leaves"
            )
        return found


def _judge(row: LeafFound, keys: dict[str, bytes]) -> LogFault | None:
    """The receipt and its leaf, each for itself."""
    if row.payload is None:
        return LogFault(
            "log_leaf", row.account_id, f"leaf {row.leaf_index}: receipt {row.receipt_id} is missing"
        )
    if row.leaf_hash is None:
        return LogFault("log_leaf", row.account_id, f"receipt {row.receipt_id} is not in the log")
    if row.leaf_hash != hash_leaf(row.payload):
        return LogFault(
            "log_leaf", row.account_id, f"leaf {row.leaf_index} is not that of receipt {row.receipt_id}"
        )
    key = keys.get(row.key_id or "")
    if key is None or not verify(key, row.payload, row.signature or b""):
        return LogFault(
            "receipt_forged", row.account_id, f"receipt {row.receipt_id} is not signed by key {row.key_id}"
        )
    if (named := _find_key_named(row.payload)) != row.key_id:
        return LogFault(
            "receipt_forged",
            row.account_id,
            f"receipt {row.receipt_id} is kept as signed by key {row.key_id}, and itself names {named}",
        )
    return None


def _find_key_named(payload: bytes) -> str | None:
    try:
        return _stating_decoder.decode(payload).key_id
    except (ValueError, RecursionError):
        return None
