"""Redis refuses, hangs, is absent at the start, or cannot write: quick errors, and back within 5 s."""

import asyncio
import logging
import time
from datetime import timedelta
from statistics import median

import pytest

from shared.errors import UnavailableError
from shared.redis import Redis, Script, open_redis
from shared.redis.client import FAILURES_IN_A_ROW
from tests.conftest import StartServer
from tests.redis.conftest import Open, SilentServer, eventually
from tests.servers.process import find_free_port
from tests.servers.redis import ask_redis

pytestmark = pytest.mark.redis

QUICK = timedelta(milliseconds=50)


async def fail(redis: Redis, times: int) -> list[float]:
    """Ping so often, each time in vain; how many seconds each took."""
    durations_s = []
    for _ in range(times):
        before = time.monotonic()
        with pytest.raises(UnavailableError):
            await redis.ping()
        durations_s.append(time.monotonic() - before)
    return durations_s


def test_at_most_five_failures_are_paid_for() -> None:
    assert FAILURES_IN_A_ROW <= 5


async def test_a_server_that_hangs_is_asked_a_few_times_and_then_left_alone(
    own_server: StartServer, open_client: Open
) -> None:
    server = own_server("redis")
    redis = await open_client(f"redis://{server.address}", time_limit=QUICK)
    server.pause()
    durations_s = await fail(redis, FAILURES_IN_A_ROW)
    assert redis.is_away
    assert all(each > 0.045 for each in durations_s)
    assert min(durations_s) < 1
    assert median(await fail(redis, 101)) < 0.01
    server.resume()
    await eventually(lambda: not redis.is_away, 5)
    await redis.ping()


async def test_a_command_is_sent_once(silent_server: SilentServer, open_client: Open) -> None:
    redis = await open_client(silent_server.url, time_limit=QUICK)
    assert redis.is_away
    await redis.close()
    probes = silent_server.heard.count(b"llmring:probe")
    again = Redis(silent_server.url, QUICK)
    with pytest.raises(UnavailableError):
        await again.call("INCR", "counter")
    assert (probes, silent_server.heard.count(b"counter")) == (1, 1)
    await again.close()


async def test_while_it_is_away_nobody_asks_but_the_probe(
    silent_server: SilentServer, open_client: Open
) -> None:
    redis = await open_client(silent_server.url, time_limit=QUICK)
    await fail(redis, 200)
    assert b"PING" not in silent_server.heard
    await eventually(lambda: silent_server.heard.count(b"llmring:probe") >= 3, 30)


async def test_a_server_that_refuses_and_comes_back(own_server: StartServer, open_client: Open) -> None:
    server = own_server("redis")
    redis = await open_client(f"redis://{server.address}", time_limit=QUICK)
    await redis.ping()
    server.kill()
    await fail(redis, 20)
    assert redis.is_away
    server.start()
    await eventually(lambda: not redis.is_away, 5)
    await redis.ping()


async def test_a_server_that_is_absent_at_the_start_is_found_when_it_comes(
    own_server: StartServer, open_client: Open
) -> None:
    server = own_server("redis")
    server.kill()
    redis = await open_client(f"redis://{server.address}", time_limit=QUICK)
    assert redis.is_away
    await fail(redis, 1)
    server.start()
    await eventually(lambda: not redis.is_away, 5)
    await redis.ping()


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_opening_never_fails_for_want_of_a_server(host: str, open_client: Open) -> None:
    redis = await open_client(f"redis://{host}:{find_free_port()}", time_limit=QUICK)
    assert redis.is_away


async def test_a_server_that_talks_nonsense_is_away() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b":not a number\r\n")

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        redis = await open_redis("redis://{}:{}".format(*server.sockets[0].getsockname()))
        assert redis.is_away
        await redis.close()


async def test_a_server_that_cannot_write_is_away_until_it_can(
    own_server: StartServer, open_client: Open
) -> None:
    server = own_server("redis")
    redis = await open_client(f"redis://{server.address}")
    for trouble, remedy in (
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
        ("CONFIG SET requirepass other", "CONFIG SET requirepass ''"),
    ):
        ask_redis(server.address, trouble)
        if "requirepass" in trouble:
            ask_redis(server.address, "AUTH other", "CLIENT KILL TYPE normal SKIPME yes")
            await asyncio.sleep(0.05)
        for _ in range(FAILURES_IN_A_ROW):
            with pytest.raises(UnavailableError):
                await redis.call("SET", "key", "value")
        assert redis.is_away, trouble
        await asyncio.sleep(1.2)
        assert redis.is_away, trouble  # a probe that only reads would have been content
        ask_redis(server.address, "AUTH other", remedy) if "requirepass" in trouble else ask_redis(
            server.address, remedy
        )
        await eventually(lambda: not redis.is_away, 5)
        await redis.call("SET", "key", "value")


async def test_one_failure_is_not_an_outage(redis: Redis) -> None:
    for _ in range(3 * FAILURES_IN_A_ROW):
        with pytest.raises(UnavailableError):
            await redis.call("NONSENSE")
        await redis.ping()
    assert not redis.is_away


async def test_a_server_that_has_just_come_back_has_one_chance(
    own_server: StartServer, open_client: Open
) -> None:
    server = own_server("redis")
    server.kill()
    redis = await open_client(f"redis://{server.address}")
    server.start()
    await eventually(lambda: not redis.is_away, 5)
    with pytest.raises(UnavailableError):
        await redis.call("NONSENSE")
    assert redis.is_away
    await eventually(lambda: not redis.is_away, 5)
    await redis.ping()
    with pytest.raises(UnavailableError):
        await redis.call("NONSENSE")
    assert not redis.is_away


async def test_an_outage_is_one_line_in_the_log(
    silent_server: SilentServer, open_client: Open, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "shared.redis"):
        redis = await open_client(silent_server.url, time_limit=QUICK)
        await fail(redis, 20)
        await eventually(lambda: silent_server.heard.count(b"llmring:probe") >= 2, 30)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "Redis is away: TimeoutError")


async def test_an_answer_that_waits_for_a_busy_process_is_no_failure(
    redis_url: str, open_client: Open
) -> None:
    redis = await open_client(redis_url, time_limit=QUICK)
    for _ in range(5):
        ping = asyncio.create_task(redis.ping())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251 - holding up the loop is the point
        await ping


async def test_a_script_that_the_server_has_forgotten_is_sent_again(redis: Redis) -> None:
    script = Script("return {KEYS[1], ARGV[1]}")
    for _ in range(2):
        assert await redis.run(script, [b"key"], ["value"]) == [b"key", b"value"]
        await redis.call("SCRIPT", "FLUSH")
        assert await redis.run(script, [b"key"], ["value"]) == [b"key", b"value"]


async def test_a_client_that_is_closed_during_an_outage_looks_no_further(
    silent_server: SilentServer, open_client: Open
) -> None:
    redis = await open_client(silent_server.url, time_limit=QUICK)
    await redis.close()
    heard = silent_server.connections
    await asyncio.sleep(1.1)
    assert silent_server.connections == heard
