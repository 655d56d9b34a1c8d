"""The Merkle log's arithmetic: trees of every size to 300, against the definition itself."""

import random
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.proofs.tlog.frontier import Frontier
from shared.proofs.tlog.hashing import EMPTY_ROOT, Node, fold, hash_leaf
from shared.proofs.tlog.proofs import (
    carry_out,
    plan_consistency,
    plan_inclusion,
    verify_consistency,
    verify_inclusion,
)
from shared.proofs.tlog.tiles import Tile, find_edge, find_tile, is_within, parse_tile_path

LARGEST = 300
ENTRIES = [f"entry {number}".encode() for number in range(LARGEST)]
LEAVES = [hash_leaf(entry) for entry in ENTRIES]


def tree_hash(leaves: list[bytes]) -> bytes:
    """The definition, word for word: RFC 9162, section 2.1.1."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return sha256(b"\x01" + tree_hash(leaves[:middle]) + tree_hash(leaves[middle:])).digest()


NODES = {
    Node(level, number): tree_hash(LEAVES[number << level : (number + 1) << level])
    for level in range(9)
    for number in range(LARGEST >> level)
}
ROOTS = [tree_hash(LEAVES[:size]) for size in range(LARGEST + 1)]


def test_the_roots_of_rfc_6962_come_out_as_published() -> None:
    # The entries and roots that the reference implementation of Certificate Transparency tests with.
    entries = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    published = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    leaves = [hash_leaf(bytes.fromhex(entry)) for entry in entries]
    for size, root in published.items():
        assert Frontier().append(leaves[:size]).frontier.root.hex() == root


def test_a_frontier_that_grows_anyhow_has_the_root_of_the_definition() -> None:
    rng = random.Random(4)
    for size in range(LARGEST + 1):
        frontier, done = Frontier(), 0
        while done < size:
            step = rng.randint(1, size - done)
            frontier = frontier.append(LEAVES[done : done + step]).frontier
            done += step
        assert frontier.root == ROOTS[size]
        assert Frontier.decode(size, frontier.encode()) == frontier
    assert Frontier().root == EMPTY_ROOT


def test_a_frontier_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="subtrees"):
        Frontier.decode(3, bytes(32))


def test_every_leaf_of_every_tree_is_proved_and_nothing_else_is() -> None:
    for size in range(1, LARGEST + 1):
        for index in {0, 1, size // 2, size - 2, size - 1, *range(size % 7, size, 41)} & set(range(size)):
            proof = carry_out(plan_inclusion(index, size), NODES)
            assert verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])
            assert not verify_inclusion(LEAVES[index], (index + 1) % (size + 1), size, proof, ROOTS[size])
            assert not verify_inclusion(hash_leaf(b"another"), index, size, proof, ROOTS[size])
            assert not verify_inclusion(LEAVES[index], index, size, [*proof, bytes(32)], ROOTS[size])
            if proof:
                assert not verify_inclusion(LEAVES[index], index, size, proof[:-1], ROOTS[size])
                assert not verify_inclusion(LEAVES[index], index, size, proof[1:], ROOTS[size])


def test_every_tree_is_proved_to_begin_with_every_smaller_one() -> None:
    for size in range(LARGEST + 1):
        for old in {0, 1, size // 2, size - 1, size, *range(size % 5, size, 23)} & set(range(size + 1)):
            proof = carry_out(plan_consistency(old, size), NODES)
            assert verify_consistency(old, size, ROOTS[old], ROOTS[size], proof)
            assert not verify_consistency(old, size, ROOTS[old], ROOTS[size], [*proof, bytes(32)])
            if 0 < old < size:
                assert not verify_consistency(old, size, ROOTS[old - 1], ROOTS[size], proof)
                assert not verify_consistency(old, size, ROOTS[old], ROOTS[size - 1], proof)
                assert not verify_consistency(old, size, ROOTS[old], ROOTS[size], proof[:-1])


@given(st.integers(1, LARGEST), st.data())
def test_a_changed_bit_of_a_proof_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    included = carry_out(plan_inclusion(index, size), NODES)
    consistent = carry_out(plan_consistency(old, size), NODES)
    for proof, holds in (
        (included, lambda p: verify_inclusion(LEAVES[index], index, size, p, ROOTS[size])),
        (consistent, lambda p: verify_consistency(old, size, ROOTS[old], ROOTS[size], p)),
    ):
        assert holds(proof)
        if proof:
            at = data.draw(st.integers(0, len(proof) - 1))
            changed = bytearray(proof[at])
            changed[data.draw(st.integers(0, 31))] ^= 1 << data.draw(st.integers(0, 7))
            assert not holds([*proof[:at], bytes(changed), *proof[at + 1 :]])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 5), (5, 5)])
def test_there_is_no_proof_of_a_leaf_outside_the_tree(index: int, size: int) -> None:
    assert not verify_inclusion(LEAVES[0], index, size, [], LEAVES[0])
    with pytest.raises(ValueError, match="no such leaf"):
        plan_inclusion(index, size)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "0/000"),
        (Tile(0, 1234067), "0/x001/x234/067"),
        (Tile(3, 999, 17), "3/999.p/17"),
        (Tile(1, 1000), "1/x001/000"),
    ],
)
def test_a_tile_has_the_name_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert parse_tile_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "0/0",
        "0/00",
        "00/000",
        "8/000",
        "0/x000/001",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/01",
        "0/000.p/",
        "0/x1/000",
        "entries/000",
        "0/-01",
        "0/000/000",
        "0/x001/x002",
    ],
)
def test_a_tile_has_no_other_name(path: str) -> None:
    assert parse_tile_path(path) is None


@given(st.integers(1, 1 << 40), st.data())
def test_every_node_of_a_proof_is_found_in_a_tile_of_the_tree(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    for nodes in (*plan_inclusion(index, size), *plan_consistency(data.draw(st.integers(1, size)), size)):
        for node in nodes:
            tile, part = find_tile(node, size)
            assert is_within(tile, size)
            assert part.stop <= tile.width
            assert tile.width == 256 or find_edge(tile.level, size) == tile
            first = ((tile.number << 8) + part.start) << (8 * tile.level)
            assert (first, (part.stop - part.start) << (8 * tile.level)) == (
                node.number << node.level,
                1 << node.level,
            )


def test_the_roots_of_full_tiles_are_told_once_when_they_become_full() -> None:
    leaves = [hash_leaf(str(number).encode()) for number in range(256 * 256 + 300)]
    frontier, told = Frontier(), []
    for at in range(0, len(leaves), 999):
        frontier, completed = frontier.append(leaves[at : at + 999])
        told += completed
    assert [node for node, _ in told if node.level == 8] == [Node(8, number) for number in range(257)]
    assert [node for node, _ in told if node.level == 16] == [Node(16, 0)]
    roots = dict(told)
    assert roots[Node(8, 3)] == tree_hash(leaves[768:1024])
    assert roots[Node(16, 0)] == fold([tree_hash(leaves[:65536])])
