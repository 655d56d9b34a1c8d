"""Faults of the product's own processes."""

import asyncio
import random
import signal
from functools import partial

from tests.chaos.cluster import CONSUMERS, INGESTS, SERVICES
from tests.chaos.fault import EVERYTHING, Fault, Stage
from tests.servers.process import answers

FREEZE_S = 10.0
"""Longer than the session of a consumer group's member, 6 s."""

PROGRAMS = frozenset(("programs",))

_DRAIN_S = 17.0
"""15 s are promised; the rest is for a busy machine."""


async def kill(name: str, stage: Stage, chance: random.Random) -> None:
    """`kill -9`, and a new start."""
    program = stage.cluster.programs[name]
    await program.kill()
    await asyncio.sleep(chance.uniform(0, 2))
    program.start()


async def terminate(name: str, stage: Stage, chance: random.Random) -> None:
    """SIGTERM, which drains and ends with status 0, and a new start."""
    await drain(name, stage)
    await asyncio.sleep(chance.uniform(0, 1))
    stage.cluster.programs[name].start()


async def drain(name: str, stage: Stage) -> None:
    """SIGTERM, which drains and ends with status 0."""
    program = stage.cluster.programs[name]
    listens = await asyncio.to_thread(answers, program.address)
    status, took_s = await program.terminate()
    stage.drains_s.append((name, took_s))
    # Python itself ends by the signal while it is still importing.
    clean = (0,) if listens else (0, -signal.SIGTERM)
    if status not in clean or took_s > _DRAIN_S:
        stage.complaints.append(f"{name} ended with status {status} after {took_s:.1f} s of SIGTERM")


async def freeze(name: str, seconds: float, stage: Stage, _chance: random.Random) -> None:
    """SIGSTOP, and SIGCONT after a while."""
    program = stage.cluster.programs[name]
    program.freeze()
    try:
        await asyncio.sleep(seconds)
    finally:
        program.thaw()


async def kill_all_consumers(stage: Stage, chance: random.Random) -> None:
    """Every consumer at once."""
    programs = [stage.cluster.programs[name] for name in CONSUMERS]
    await asyncio.gather(*(program.kill() for program in programs))
    await asyncio.sleep(chance.uniform(1, 4))
    for program in programs:
        program.start()


async def storm(stage: Stage, chance: random.Random) -> None:
    """Members join and leave both groups in quick succession, some of them without a word."""
    guests = [stage.cluster.describe_consumer(name) for name in ("rater-3", "issuer-3", "rater-4")]
    try:
        for guest in guests:
            stage.cluster.programs[guest.name] = guest
            guest.start()
            await asyncio.sleep(chance.uniform(0.2, 1.5))
        await asyncio.sleep(chance.uniform(1.5, 4))
        for guest in chance.sample(guests, len(guests)):
            if chance.random() < 0.5:
                await drain(guest.name, stage)
            else:
                await guest.kill()
            await asyncio.sleep(chance.uniform(0, 1))
    finally:
        for guest in guests:
            guest.end()
            stage.cluster.programs.pop(guest.name, None)


async def power_cut(stage: Stage, _chance: random.Random) -> None:
    """`kill -9` of everything, the servers included; then all starts at once, in no order."""
    cluster = stage.cluster
    servers = [cluster.postgres, cluster.redis, *cluster.brokers.servers.values()]
    programs = list(cluster.programs.values())
    for program in programs:
        program.expected = False
    await asyncio.gather(
        *(program.kill() for program in programs), *(asyncio.to_thread(server.kill) for server in servers)
    )
    await asyncio.sleep(1)
    for program in programs:
        program.start()
    await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))


def list_program_faults() -> list[Fault]:
    """All of them."""
    found = [Fault("power_cut", "everything", EVERYTHING, power_cut)]
    for name in (*SERVICES, *INGESTS):
        found += [
            Fault("kill_service", name, PROGRAMS, partial(kill, name)),
            Fault("term_service", name, PROGRAMS, partial(terminate, name)),
            Fault("freeze_service", name, PROGRAMS, partial(freeze, name, 6.0)),
        ]
    for name in CONSUMERS:
        found += [
            Fault("kill_consumer", name, PROGRAMS, partial(kill, name)),
            Fault("term_consumer", name, PROGRAMS, partial(terminate, name)),
            Fault("freeze_consumer", name, PROGRAMS, partial(freeze, name, FREEZE_S)),
        ]
    found.append(Fault("kill_all_consumers", "raters and issuers", PROGRAMS, kill_all_consumers))
    found.append(Fault("rebalance_storm", "raters and issuers", PROGRAMS, storm))
    return found
