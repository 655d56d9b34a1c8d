"""Inclusion and consistency proofs: which hashes they are made of, and how a stranger checks them.

Source: RFC 9162, sections 2.1.3 and 2.1.4 (the proofs of RFC 6962).
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from shared.proofs.tlog.hashing import Node, cover, fold, hash_pair

Plan: TypeAlias = list[tuple[Node, ...]]
"""For each hash of a proof, the perfect subtrees that it is folded from."""


def plan_inclusion(index: int, size: int) -> Plan:
    """What proves that a tree of `size` leaves has the leaf at `index`, from the leaf's sibling upwards.

    Raises:
        ValueError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError("the tree has no such leaf")
    plan: Plan = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _largest_power_below(end - start)
        if index < middle:
            plan.append(tuple(cover(middle, end)))
            end = middle
        else:
            plan.append(tuple(cover(start, middle)))
            start = middle
    plan.reverse()
    return plan


def plan_consistency(old_size: int, size: int) -> Plan:
    """What proves that a tree of `size` leaves begins with the tree of its first `old_size` leaves.

    Nothing does where the sizes are equal, or the old tree was empty.

    Raises:
        ValueError: the old tree is the larger one.
    """
    if not 0 <= old_size <= size:
        raise ValueError("the old tree is the larger one")
    plan: Plan = []
    if old_size in (0, size):
        return plan
    start, end = 0, size
    # The old tree's own root needs no telling if it is the root of a perfect subtree of the new one.
    while old_size < end:
        middle = start + _largest_power_below(end - start)
        if old_size <= middle:
            plan.append(tuple(cover(middle, end)))
            end = middle
        else:
            plan.append(tuple(cover(start, middle)))
            start = middle
    if start > 0:
        plan.append(tuple(cover(start, end)))
    plan.reverse()
    return plan


def carry_out(plan: Plan, hashes: Mapping[Node, bytes]) -> list[bytes]:
    """The proof itself."""
    return [fold(hashes[node] for node in nodes) for nodes in plan]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the tree with this root and size has the leaf hash at `index` (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = hash_pair(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = hash_pair(found, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(
    old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the tree with `root` begins with the one with `old_root` (RFC 9162, section 2.1.4.2).

    Every tree begins with the empty one; the root given for that is for the caller to check.
    """
    if old_size == size:
        return not proof and old_root == root
    if not 0 <= old_size < size:
        return False
    if old_size == 0:
        return not proof
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        return False
    at, last = old_size - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old_found = found = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old_found = hash_pair(sibling, old_found)
            found = hash_pair(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = hash_pair(found, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and old_found == old_root and found == root


def _largest_power_below(count: int) -> int:
    """The largest power of two below a count of two or more."""
    return 1 << ((count - 1).bit_length() - 1)
