"""Whether the right edge of the receipts' log is sound: else no receipt is issued once a tile is full.

A hash that was changed in a tile that is not full yet is found when that tile is sealed (see `log`), and then
nothing may be built on it. Looking now and then tells of it before, in every process of this service.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from services.receipts.store.log import find_log, list_leaf_hashes, list_tile_roots
from shared.errors import UnavailableError
from shared.postgres import Connection, Database
from shared.proofs.tlog.frontier import Frontier
from shared.proofs.tlog.hashing import Node, cover, root_of_perfect
from shared.proofs.tlog.tiles import TILE_HEIGHT
from shared.stopping import is_set_within
from shared.telemetry.metrics import RECEIPTS_LOG_DAMAGED

LOOK_EVERY_S: Final = 10.0
CHECK: Final = "receipts_log"
"""What it is called among the checks of health."""

_log = logging.getLogger(__name__)


class Edge:
    """Looks at the log of a database, and remembers what it saw."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._fault: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Look, again and again, until `stop` is set."""
        while not stop.is_set():
            try:
                await self.look()
            except UnavailableError as error:
                _log.debug("the edge of the receipts' log cannot be looked at: %s", error)
            await is_set_within(stop, LOOK_EVERY_S)

    async def look(self) -> None:
        """Look once, and tell what has changed.

        Raises:
            UnavailableError: the database is away; what was seen before stands.
        """
        async with self._database.connection() as connection:
            fault = await find_fault(connection)
        if fault is not None and fault != self._fault:
            _log.error("the receipts' log is damaged, and will soon take no receipts: %s", fault)
        elif fault is None and self._fault is not None:
            _log.info("the receipts' log is sound again")
        self._fault = fault
        RECEIPTS_LOG_DAMAGED.set(fault is not None)

    async def ping(self) -> None:
        """Tell of damage that was seen.

        Raises:
            UnavailableError: there is some.
        """
        if self._fault is not None:
            raise UnavailableError(f"The receipts' log is damaged: {self._fault}.")


async def find_fault(connection: Connection) -> str | None:
    """What of the right edge is not what was signed; None where all is."""
    row = await find_log(connection)
    if row is None:
        return None
    try:
        edge = Frontier.decode(row.tree_size, row.frontier).hashes
    except ValueError as error:
        return str(error)
    for node, signed in zip(cover(0, row.tree_size), edge, strict=True):
        if not _makes(await _list_hashes(connection, node), signed):
            first, end = node.number << node.level, (node.number + 1) << node.level
            return f"leaves {first} to {end - 1} are not what was signed"
    return None


async def _list_hashes(connection: Connection, node: Node) -> list[bytes]:
    """What is stored right below a node of the edge: leaves, or roots of full tiles."""
    tile_level = node.level // TILE_HEIGHT
    width = 1 << (node.level % TILE_HEIGHT)
    start, end = node.number * width, (node.number + 1) * width
    if tile_level == 0:
        return await list_leaf_hashes(connection, start, end)
    return await list_tile_roots(connection, tile_level - 1, start, end)


def _makes(hashes: Sequence[bytes], root: bytes) -> bool:
    return len(hashes) & (len(hashes) - 1) == 0 and len(hashes) > 0 and root_of_perfect(list(hashes)) == root
