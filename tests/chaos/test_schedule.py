"""The schedule is the seed's, covers everything, and never asks for the impossible."""

import itertools
import random
from collections import Counter

from tests.chaos.fault import EVERYTHING, Fault, Stage
from tests.chaos.schedule import plan_long, plan_short


async def nothing(_stage: Stage, _chance: random.Random) -> None:
    """Strike nobody."""


FAULTS = [
    *(Fault(f"kafka-{n}", target, frozenset(("kafka",)), nothing) for n in range(6) for target in ("a", "b")),
    *(Fault(f"postgres-{n}", "a", frozenset(("postgres",)), nothing) for n in range(5)),
    *(
        Fault(f"programs-{n}", target, frozenset(("programs",)), nothing)
        for n in range(6)
        for target in ("a", "b", "c")
    ),
    Fault("power_cut", "everything", EVERYTHING, nothing),
]


def test_the_short_plan_has_every_kind_once() -> None:
    slots = plan_short(FAULTS, random.Random(1))
    kinds = Counter(fault.kind for slot in slots for fault in slot)
    assert kinds == {fault.kind: 1 for fault in FAULTS}
    assert len(slots) <= len(kinds) // 2 + 2
    assert max(map(len, slots)) == 3


def test_the_long_plan_has_every_fault_before_any_comes_again() -> None:
    drawn = itertools.chain.from_iterable(plan_long(FAULTS, random.Random(1)))
    first_round = list(itertools.islice(drawn, len(FAULTS)))
    assert Counter(fault.name for fault in first_round) == {fault.name: 1 for fault in FAULTS}


def test_the_same_seed_is_the_same_plan() -> None:
    once, again, other = (plan_short(FAULTS, random.Random(seed)) for seed in (7, 7, 8))
    assert once == again != other


def test_faults_that_meet_are_of_different_areas_and_a_power_cut_is_alone() -> None:
    slots = [
        *plan_short(FAULTS, random.Random(3)),
        *itertools.islice(plan_long(FAULTS, random.Random(3)), 200),
    ]
    assert any(len(slot) > 1 for slot in slots)
    for slot in slots:
        areas = [area for fault in slot for area in fault.areas]
        assert len(set(areas)) == len(areas)
        assert len(slot) == 1 or EVERYTHING not in {fault.areas for fault in slot}
