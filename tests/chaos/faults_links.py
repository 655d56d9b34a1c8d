"""Faults of the network between the product and its servers."""

import asyncio
import random
from collections.abc import Sequence
from functools import partial

from tests.chaos.fault import Fault, Stage
from tests.chaos.link import Link

_SLOW_S = 7.0
_CUT_S = (2.0, 5.0)
_SWALLOW_S = 7.0


async def slow_down(links: Sequence[Link], _stage: Stage, chance: random.Random) -> None:
    """Everything arrives late."""
    for link in links:
        link.delay_s = chance.uniform(0.02, 0.1)
    try:
        await asyncio.sleep(_SLOW_S)
    finally:
        for link in links:
            link.delay_s = 0.0


async def cut(links: Sequence[Link], _stage: Stage, chance: random.Random) -> None:
    """Connections are reset, new ones are refused."""
    try:
        for link in links:
            await link.cut()
        await asyncio.sleep(chance.uniform(*_CUT_S))
    finally:
        for link in links:
            await link.open()


async def swallow(links: Sequence[Link], _stage: Stage, _chance: random.Random) -> None:
    """Nothing arrives; afterwards everything does."""
    for link in links:
        link.swallow()
    try:
        await asyncio.sleep(_SWALLOW_S)
    finally:
        for link in links:
            link.let_through()


async def forget(links: Sequence[Link], _stage: Stage, _chance: random.Random) -> None:
    """The present connections are dead and nobody is told; new ones work."""
    for link in links:
        link.forget()


def list_link_faults(stage: Stage) -> list[Fault]:
    """All of them."""
    cluster = stage.cluster
    kafka = list(cluster.brokers.links.items())
    places: list[tuple[str, str, list[Link]]] = [
        ("postgres", "postgres", [cluster.links["postgres"]]),
        ("redis", "redis", [cluster.links["redis"]]),
        ("ingest", "programs", [cluster.links["ingest"]]),
        *((f"broker-{number}", "kafka", [link]) for number, link in kafka),
    ]
    found = [
        Fault(
            "slow_network",
            "all brokers",
            frozenset(("kafka",)),
            partial(slow_down, [link for _, link in kafka]),
        )
    ]
    for name, area, links in places:
        areas = frozenset((area,))
        found += [
            Fault("cut_network", name, areas, partial(cut, links)),
            Fault("silent_network", name, areas, partial(swallow, links)),
            Fault("forgotten_connections", name, areas, partial(forget, links)),
        ]
        if area != "kafka":
            found.append(Fault("slow_network", name, areas, partial(slow_down, links)))
    return found
