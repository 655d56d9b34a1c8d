"""A consumer or an appender in a process of its own, to be killed: `python -m tests.event_log.member ...`."""

import asyncio
import signal
import sys

from shared.event_log import PostgresPositions, Slice, run_consumer
from shared.postgres import open_database
from tests.event_log.results import Results, numbered
from tests.event_log.servers import open_log_at


async def consume(kind: str, address: str, topic: str, results_url: str) -> None:
    """Apply to `results`, slowly, until killed; say so after each slice."""
    database = await open_database(results_url, application_name="member")
    results = Results(database, PostgresPositions(database, "results"))
    log = await open_log_at(kind, address)

    async def apply(part: Slice) -> None:
        await results.apply("group", part)
        print("applied", flush=True)
        await asyncio.sleep(0.02)

    await run_consumer(log, "group", topic, results.positions, apply, stop=asyncio.Event(), max_records=5)


async def consume_until_told(bootstrap: str, topic: str, results_url: str, group: str, trouble: str) -> None:
    """Apply record by record until SIGTERM; the fourth one always fails, or takes longer than is waited."""
    database = await open_database(results_url, application_name="member")
    results = Results(database, PostgresPositions(database, "results"))
    log = await open_log_at("kafka", bootstrap)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def apply(part: Slice) -> None:
        if part.expected == 3:
            print(trouble, flush=True)
            if trouble == "failing":
                raise ConnectionError("the database is away")
            await asyncio.sleep(600)
        await results.apply(group, part)
        print("applied", flush=True)

    await run_consumer(log, group, topic, results.positions, apply, stop=stop, max_records=1)
    await log.close()
    await database.close()


async def append(kind: str, address: str, topic: str) -> None:
    """Append from 20 callers until killed; name each value once it is acknowledged."""
    log = await open_log_at(kind, address)

    async def caller(number: int) -> None:
        for n in range(number, 1_000_000, 20):
            (record,) = numbered(1, keys=20, start=n)
            await log.append(topic, [record])
            print(record.value.decode(), flush=True)

    await asyncio.gather(*map(caller, range(20)))


if __name__ == "__main__":
    if sys.argv[1] == "consume":
        asyncio.run(consume(*sys.argv[2:]))
    elif sys.argv[1] == "consume-until-told":
        asyncio.run(consume_until_told(*sys.argv[2:]))
    else:
        asyncio.run(append(*sys.argv[2:]))
