"""Which faults, in which order, by a seed."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from tests.chaos.fault import Fault

PAIR_SHARE: Final = 0.25
AT_ONCE: Final = 3

Slot: TypeAlias = tuple[Fault, ...]
"""Faults that happen at the same time, each in an area of its own."""


def plan_short(faults: Sequence[Fault], chance: random.Random) -> list[Slot]:
    """Every kind once, several at a time where their areas allow it."""
    kinds = sorted({fault.kind for fault in faults})
    left = [chance.choice([fault for fault in faults if fault.kind == kind]) for kind in kinds]
    chance.shuffle(left)
    slots: list[Slot] = []
    while left:
        slot: Slot = (left.pop(),)
        while len(slot) < AT_ONCE and (partners := [fault for fault in left if _may_join(slot, fault)]):
            # From the areas that have the most left, so that few are alone at the end.
            counts = Counter(fault.areas for fault in left)
            partner = max(partners, key=lambda fault: counts[fault.areas])
            left.remove(partner)
            slot = (*slot, partner)
        slots.append(slot)
    return slots


def plan_long(faults: Sequence[Fault], chance: random.Random) -> Iterator[Slot]:
    """Without end: all faults in a random order, then all again in another one, some of them in pairs."""
    while True:
        left = chance.sample(faults, len(faults))
        while left:
            first = left.pop()
            partners = [fault for fault in left if _may_join((first,), fault)]
            if partners and chance.random() < PAIR_SHARE:
                partner = partners[0]
                left.remove(partner)
                yield first, partner
            else:
                yield (first,)


def _may_join(slot: Slot, fault: Fault) -> bool:
    return all(fault.areas.isdisjoint(each.areas) for each in slot)
