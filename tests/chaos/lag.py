"""How far the consumers are behind, read from brokers and Postgres directly, around the links."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from aiokafka.errors import KafkaError

from shared.contracts.topics import USAGE_LOGGED, USAGE_RATED
from shared.errors import UnavailableError
from shared.postgres import open_connection
from tests.chaos.cluster import Cluster

LIST_RATER_POSITIONS: Final = """
SELECT partition, next_offset FROM usage.positions
 WHERE consumer_group = 'rater' AND topic = 'usage.logged'
"""
LIST_ISSUER_POSITIONS: Final = """
SELECT partition, next_offset FROM receipts.positions
 WHERE consumer_group = 'issuer' AND topic = 'usage.rated'
"""
_LOOK_EVERY_S: Final = 0.1

T = TypeVar("T")


async def await_receipted(cluster: Cluster, seconds: float) -> float:
    """Wait until all that is accepted by now is rated, and receipted; how long that took, in seconds.

    Records go on coming in meanwhile, and are not waited for.

    Raises:
        TimeoutError: it took longer than `seconds`; the text says what was still behind.
    """
    started = time.monotonic()
    behind = "Kafka"
    try:
        async with asyncio.timeout(seconds):
            for topic, statement in (
                (USAGE_LOGGED, LIST_RATER_POSITIONS),
                (USAGE_RATED, LIST_ISSUER_POSITIONS),
            ):
                behind = f"the ends of {topic}"
                ends = await _insist(partial(cluster.brokers.read_ends, [topic]))
                behind = f"the readers of {topic}"
                await _insist(partial(_read_past, cluster, statement, ends))
    except TimeoutError:
        raise TimeoutError(f"after {seconds:.0f} s still waiting for {behind}") from None
    return time.monotonic() - started


async def await_replicas(cluster: Cluster, seconds: float) -> None:
    """Wait until every partition has its leader and three copies in sync.

    Raises:
        TimeoutError: it took longer than `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            await _insist(partial(_is_replicated, cluster))
    except TimeoutError:
        raise TimeoutError(f"replicas are not in sync after {seconds:.0f} s") from None


async def _read_past(cluster: Cluster, statement: str, ends: dict[tuple[str, int], int]) -> bool:
    """Whether the positions are past some ends."""
    connection = await open_connection(cluster.database_url, application_name="chaos")
    try:
        positions = {row["partition"]: row["next_offset"] for row in await connection.fetch(statement)}
    finally:
        await connection.close()
    return all(positions.get(partition, 0) >= end for (_, partition), end in ends.items())


async def _is_replicated(cluster: Cluster) -> bool:
    return await cluster.brokers.count_under_replicated() == 0


async def _insist(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer other than no."""
    while True:
        with contextlib.suppress(KafkaError, OSError, UnavailableError):
            answer = await ask()
            if answer:
                return answer
        await asyncio.sleep(_LOOK_EVERY_S)
