"""What a fault is, and what it may touch."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.chaos.cluster import Cluster
from tests.chaos.load import Load

EVERYTHING: Final = frozenset(("programs", "kafka", "postgres", "redis"))


@dataclass
class Stage:
    """What faults act upon, and where they say what they saw.

    Attributes:
        load: the callers, with what they were told.
        complaints: promises that were broken, in words.
        drains_s: how long processes took to end after SIGTERM, by name.
    """

    cluster: Cluster
    load: Load
    complaints: list[str] = field(default_factory=list)
    drains_s: list[tuple[str, float]] = field(default_factory=list)


Strike = Callable[[Stage, random.Random], Awaitable[None]]


class Fault(NamedTuple):
    """One thing that goes wrong.

    Attributes:
        kind: what happens, as it is counted.
        target: to whom.
        areas: what it takes away, or needs to be there. Faults at the same time have no area in common.
        strike: does it; when it returns, everything has been given back: processes were started again,
            servers answer, links let through.
    """

    kind: str
    target: str
    areas: frozenset[str]
    strike: Strike

    @property
    def name(self) -> str:
        """Kind and target."""
        return f"{self.kind} {self.target}"
