"""Faults of Kafka, Postgres and Redis."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial

from shared.errors import UnavailableError
from shared.postgres import open_connection
from tests.chaos.fault import EVERYTHING, Fault, Stage
from tests.chaos.ledger import Account
from tests.chaos.load import Load
from tests.chaos.records import Work
from tests.servers.process import wait_until
from tests.servers.redis import ask_redis
from tests.servers.server import Server

KAFKA = frozenset(("kafka",))
POSTGRES = frozenset(("postgres",))
REDIS = frozenset(("redis",))
"""What Redis knows is lost: Postgres has to be there, see `lose_both_stores`."""

FREEZE_BROKER_S = 10.0
"""Longer than the session of a broker, 2 s, and of the consumers whose group it coordinates, 6 s."""

FREEZE_STORE_S = 7.0
_AWAY_S = 8.0
_SETTLED_S = 1.5
_SLOW_S = 7.0

TERMINATE_CONNECTIONS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
LIST_BACKENDS = """
SELECT pid FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND application_name LIKE 'llmring%' ORDER BY pid
"""


async def _together(*steps: Callable[[], None]) -> None:
    await asyncio.gather(*(asyncio.to_thread(step) for step in steps))


async def kill_server(
    server: Server, away_s: tuple[float, float], stage: Stage, chance: random.Random
) -> None:
    """`kill -9`, and a new start on the same data."""
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(chance.uniform(*away_s))
    await asyncio.to_thread(server.start)


async def stop_server(server: Server, stage: Stage, chance: random.Random) -> None:
    """An orderly stop, and a new start."""
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(chance.uniform(0, 2))
    await asyncio.to_thread(server.start)


async def freeze_server(server: Server, seconds: float, stage: Stage, _chance: random.Random) -> None:
    """SIGSTOP of all processes of a server, and SIGCONT after a while."""
    try:
        await asyncio.to_thread(server.pause)
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(server.resume)


async def stutter(server: Server, stage: Stage, _chance: random.Random) -> None:
    """A server that gets a quarter of its time, in turns, as on a disk that stalls."""
    until = time.monotonic() + _SLOW_S
    try:
        while time.monotonic() < until:
            await asyncio.to_thread(server.pause)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(server.resume)
            await asyncio.sleep(0.1)
    finally:
        await asyncio.to_thread(server.resume)


async def take_kafka_away(stage: Stage, chance: random.Random) -> None:
    """Two brokers of three at once: nothing may be acknowledged by the one that is left."""
    servers = [stage.cluster.brokers.servers[n] for n in chance.sample((1, 2, 3), 2)]
    frozen = chance.random() < 0.5
    await _together(*(server.pause if frozen else server.kill for server in servers))
    try:
        await asyncio.sleep(_SETTLED_S)
        before, refused_before = len(stage.load.ledger.acknowledged), stage.load.door.count_refusals()
        await asyncio.sleep(_AWAY_S - _SETTLED_S)
        after, refused_after = len(stage.load.ledger.acknowledged), stage.load.door.count_refusals()
    finally:
        await _together(*(server.resume if frozen else server.start for server in servers))
    if after != before:
        stage.complaints.append(f"{after - before} records were acknowledged while two brokers were away")
    if refused_after == refused_before and not stage.load.door.is_gateway_away():
        stage.complaints.append("nobody was told 503 while two brokers were away")


async def change_leaders(stage: Stage, chance: random.Random) -> None:
    """Another leader for nearly every partition."""
    await stage.cluster.brokers.move_leaders(chance)


async def kill_controller(stage: Stage, chance: random.Random) -> None:
    """The broker that leads the controllers."""
    number = await stage.cluster.brokers.find_controller()
    await kill_server(stage.cluster.brokers.servers[number], (0.5, 3), stage, chance)


async def cut_connections(stage: Stage, _chance: random.Random) -> None:
    """`pg_terminate_backend` of everybody."""
    await _tell_postgres(stage, TERMINATE_CONNECTIONS)


async def crash_backend(stage: Stage, chance: random.Random) -> None:
    """`kill -9` of one backend: Postgres throws everybody out and recovers."""
    connection = await open_connection(stage.cluster.database_url, application_name="chaos")
    try:
        pids = [row["pid"] for row in await connection.fetch(LIST_BACKENDS)]
    finally:
        await connection.close()
    if pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(pids), signal.SIGKILL)
    await asyncio.sleep(0.1)
    await asyncio.to_thread(wait_until, stage.cluster.postgres.ready, 30, "postgres")


async def slow_commits(stage: Stage, _chance: random.Random) -> None:
    """Every commit waits a tenth of a second before its flush, as on a disk that is slow to sync."""
    await _tell_postgres(
        stage, "ALTER SYSTEM SET commit_delay = 100000", "ALTER SYSTEM SET commit_siblings = 0",
        "SELECT pg_reload_conf()",
    )  # fmt: skip
    await asyncio.sleep(_SLOW_S)
    await _tell_postgres(
        stage, "ALTER SYSTEM RESET commit_delay", "ALTER SYSTEM RESET commit_siblings",
        "SELECT pg_reload_conf()",
    )  # fmt: skip


async def flush_redis(stage: Stage, _chance: random.Random) -> None:
    """FLUSHALL."""
    await asyncio.to_thread(ask_redis, stage.cluster.redis.address, "FLUSHALL")


async def lose_both_stores(stage: Stage, chance: random.Random) -> None:
    """Postgres freezes, and then Redis loses its memory: nobody can tell a repetition from a new record.

    So keys that were used before are used again meanwhile. They may be refused, until Postgres is back, and
    must not be answered otherwise than before.
    """
    load = stage.load
    used = [await _log_one(load, chance) for _ in range(4)]
    try:
        await asyncio.to_thread(stage.cluster.postgres.pause)
        await asyncio.sleep(_SETTLED_S)
        async with asyncio.TaskGroup() as again:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SETTLED_S):
                    used += [await _log_one(load, chance) for _ in range(4)]
            await flush_redis(stage, chance)
            for number, (account, work) in enumerate(used):
                again.create_task(_use_again(load, account, work, other_body_first=bool(number % 2)))
            await asyncio.sleep(_SETTLED_S * 2)
            await asyncio.to_thread(stage.cluster.postgres.resume)
    finally:
        await asyncio.to_thread(stage.cluster.postgres.resume)


async def _use_again(load: Load, account: Account, work: Work, *, other_body_first: bool) -> None:
    uses = [load.repeat, load.offer_other_body]
    for use in reversed(uses) if other_body_first else uses:
        await use(account, work)


async def _log_one(load: Load, chance: random.Random) -> tuple[Account, Work]:
    account, work = chance.choice(load.accounts), load.make_one()
    await load.deliver(account, work)
    return account, work


async def _tell_postgres(stage: Stage, *statements: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                connection = await open_connection(stage.cluster.database_url, application_name="chaos")
            except UnavailableError:
                await asyncio.sleep(0.1)
                continue
            try:
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close()
            return


def list_server_faults(stage: Stage) -> list[Fault]:
    """All of them."""
    cluster = stage.cluster
    postgres, redis = cluster.postgres, cluster.redis
    found = [
        Fault("kafka_away", "two brokers", KAFKA, take_kafka_away),
        Fault("leader_change", "all partitions", KAFKA, change_leaders),
        Fault("kill_controller", "the leading one", KAFKA, kill_controller),
        Fault("kill_postgres", "postgres", POSTGRES, partial(kill_server, postgres, (0.0, 4.0))),
        Fault("restart_postgres", "postgres", POSTGRES, partial(stop_server, postgres)),
        Fault("crash_postgres_backend", "postgres", POSTGRES, crash_backend),
        Fault("freeze_postgres", "postgres", POSTGRES, partial(freeze_server, postgres, FREEZE_STORE_S)),
        Fault("cut_postgres_connections", "postgres", POSTGRES, cut_connections),
        Fault("slow_disk", "postgres", POSTGRES, slow_commits),
        Fault("both_stores_lost", "postgres and redis", EVERYTHING, lose_both_stores),
        Fault("kill_redis", "redis", REDIS, partial(kill_server, redis, (1.0, 5.0))),
        Fault("freeze_redis", "redis", REDIS, partial(freeze_server, redis, FREEZE_STORE_S)),
        Fault("flush_redis", "redis", REDIS, flush_redis),
    ]
    for number, broker in cluster.brokers.servers.items():
        name = f"broker-{number}"
        found += [
            Fault("kill_broker", name, KAFKA, partial(kill_server, broker, (0.5, 4.0))),
            Fault("restart_broker", name, KAFKA, partial(stop_server, broker)),
            Fault("freeze_broker", name, KAFKA, partial(freeze_server, broker, FREEZE_BROKER_S)),
            Fault("slow_disk", name, KAFKA, partial(stutter, broker)),
        ]
    return found
