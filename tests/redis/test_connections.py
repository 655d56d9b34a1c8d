"""Case B1: an answer reaches whoever asked for it, or nobody."""

import asyncio
import random

import pytest

from shared.redis import Redis
from tests.conftest import StartServer
from tests.redis.conftest import Open

pytestmark = pytest.mark.redis


async def test_answers_of_cancelled_commands_reach_nobody(redis: Redis) -> None:
    chance = random.Random(7)
    secret = b"a" * 300_000  # takes several reads, so that a caller can leave in the middle of an answer
    await redis.call("SET", "of-a", secret)
    await redis.call("SET", "of-b", "b")

    async def ask_and_leave() -> None:
        task = asyncio.create_task(redis.call("GET", "of-a"))
        await asyncio.sleep(chance.choice([0, 0, 0.0001, 0.0003, 0.001, 0.002]))
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.result() == secret

    for number in range(300):
        leaving = asyncio.create_task(ask_and_leave())
        assert await redis.call("GET", "of-b") == b"b"
        assert await redis.call("ECHO", f"{number}") == b"%d" % number
        await leaving
    assert not redis.is_away


async def test_a_cancelled_command_closes_its_connection(own_server: StartServer, open_client: Open) -> None:
    server = own_server("redis")
    redis = await open_client(f"redis://{server.address}")
    await redis.call("SET", "of-a", "a")
    before = await redis.call("CLIENT", "ID")
    server.pause()
    task = asyncio.create_task(redis.call("GET", "of-a"))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    server.resume()
    assert await redis.call("GET", "of-b") is None
    assert await redis.call("CLIENT", "ID") != before


async def test_a_connection_serves_one_command_after_another(redis: Redis) -> None:
    first = await redis.call("CLIENT", "ID")
    for _ in range(20):
        assert await redis.call("CLIENT", "ID") == first
    with pytest.raises(Exception, match="did not answer"):
        await redis.call("NONSENSE")
    assert await redis.call("CLIENT", "ID") == first  # an error is an answer, and it was read


async def test_simultaneous_commands_do_not_wait_for_each_other(redis: Redis) -> None:
    waiting = asyncio.create_task(redis.call("BLPOP", "nothing", "0"))
    await asyncio.sleep(0.01)
    assert await redis.call("ECHO", "x") == b"x"
    await redis.call("RPUSH", "nothing", "something")
    assert await waiting == [b"nothing", b"something"]


async def test_connections_do_not_pile_up(own_server: StartServer, open_client: Open) -> None:
    redis = await open_client(f"redis://{own_server('redis').address}")
    for _ in range(3):
        await asyncio.gather(*(redis.call("PING") for _ in range(50)))
    assert len((await redis.call("CLIENT", "LIST")).splitlines()) <= 9


async def test_a_connection_that_the_server_closed_costs_nobody_a_failure(
    own_server: StartServer, open_client: Open
) -> None:
    server = own_server("redis")
    redis = await open_client(f"redis://{server.address}")
    await redis.ping()
    server.kill()
    server.start()
    await asyncio.sleep(0.05)
    await redis.ping()


async def test_a_closed_client_opens_nothing_more(redis: Redis) -> None:
    await redis.close()
    with pytest.raises(Exception, match="not available"):
        await redis.ping()
    await redis.close()
