"""Tiles: the hashes of a tree in files of 256, each served under one immutable name (C2SP tlog-tiles)."""

import re
from typing import Final, NamedTuple

from shared.proofs.tlog.hashing import Node

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
_HIGHEST_LEVEL: Final = 7  # 256**8 leaves are more than 63 bits can count
_PATH: Final = re.compile(r"(0|[1-7])/((?:x\d{3}/){0,5}\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


class Tile(NamedTuple):
    """The hashes of 256 subtrees of `256**level` leaves; at the right edge, of the first `width` of them."""

    level: int
    number: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """The name below `tile/`, such as `0/x001/234` or `1/000.p/17`."""
        text = str(self.number)
        digits = text.zfill(-(-len(text) // 3) * 3)
        parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        name = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
        return f"{self.level}/{name}" if self.width == TILE_WIDTH else f"{self.level}/{name}.p/{self.width}"


def parse_tile_path(path: str) -> Tile | None:
    """The tile of that name, or None where it is not the one spelling of a tile's name."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    tile = Tile(
        int(match[1]),
        int(match[2].replace("x", "").replace("/", "")),
        TILE_WIDTH if match[3] is None else int(match[3]),
    )
    return tile if tile.path == path else None


def find_edge(level: int, size: int) -> Tile | None:
    """The partial tile at the right edge of a level of a tree, or None where all tiles there are full."""
    if level > _HIGHEST_LEVEL:
        return None
    hashes = size >> (TILE_HEIGHT * level)
    width = hashes % TILE_WIDTH
    return Tile(level, hashes // TILE_WIDTH, width) if width else None


def is_within(tile: Tile, size: int) -> bool:
    """Whether a tree of this size has all the hashes of a tile."""
    return tile.number * TILE_WIDTH + tile.width <= size >> (TILE_HEIGHT * tile.level)


def find_tile(node: Node, size: int) -> tuple[Tile, slice]:
    """The tile from which a node's hash is made in a tree of this size, and which of its hashes to fold."""
    level, height = divmod(node.level, TILE_HEIGHT)
    first = node.number << height
    number = first // TILE_WIDTH
    hashes = size >> (TILE_HEIGHT * level)
    width = min(TILE_WIDTH, hashes - number * TILE_WIDTH)
    start = first % TILE_WIDTH
    return Tile(level, number, width), slice(start, start + (1 << height))
