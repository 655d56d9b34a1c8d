"""Redis does not tell that it has lost what it held; a mark in it does."""

from datetime import timedelta

import pytest

from shared.errors import UnavailableError
from shared.redis import Firsts, Redis
from tests.conftest import StartServer
from tests.redis.conftest import Open
from tests.servers.redis import ask_redis

pytestmark = pytest.mark.redis

KEEP = timedelta(minutes=1)


async def restore(firsts: Firsts) -> bool:
    """As somebody does who puts back what must not be missing."""
    token = await firsts.memory.begin()
    assert token is not None
    return await firsts.memory.end(token)


async def is_whole(firsts: Firsts) -> bool:
    """Whether it decides alone."""
    try:
        return await firsts.settle_if_whole(b"a", b"one") == b"one"
    except UnavailableError:
        return False


async def test_what_is_new_is_not_whole_before_it_was_restored(redis: Redis) -> None:
    firsts = Firsts(redis, "firsts:", KEEP)
    assert await firsts.settle(b"a", b"one") == b"one"
    assert not await is_whole(firsts)
    assert await restore(firsts)
    assert await is_whole(firsts)
    assert await firsts.memory.begin() is None
    await firsts.memory.doubt()
    assert not await is_whole(firsts)


async def test_only_one_restores_at_a_time_and_one_that_died_is_followed_by_another(redis: Redis) -> None:
    firsts = Firsts(redis, "firsts:", KEEP)
    first = await firsts.memory.begin()
    assert first is not None
    assert await firsts.memory.begin() is None
    await firsts.memory.renew(first)
    left_ms = await redis.call("PTTL", firsts.memory.key)
    assert 10_000 < left_ms <= 20_000
    await redis.call("DEL", firsts.memory.key)  # as its time does
    second = await firsts.memory.begin()
    assert second not in (None, first)
    await firsts.memory.renew(first)
    assert not await firsts.memory.end(first)
    assert await firsts.memory.end(second or b"")


async def test_what_is_lost_while_it_is_restored_is_not_called_whole(redis: Redis) -> None:
    firsts = Firsts(redis, "firsts:", KEEP)
    token = await firsts.memory.begin()
    await redis.call("FLUSHDB")
    assert not await firsts.memory.end(token or b"")
    assert not await is_whole(firsts)


async def test_a_server_that_was_started_again_is_not_whole_whatever_it_has_saved(
    own_server: StartServer, open_client: Open
) -> None:
    server = own_server("redis")
    firsts = Firsts(await open_client(f"redis://{server.address}"), "firsts:", KEEP)
    assert await restore(firsts)
    token = await firsts.memory.begin()
    assert token is None
    ask_redis(server.address, "SAVE")
    server.kill()
    server.start()
    again = Firsts(await open_client(f"redis://{server.address}"), "firsts:", KEEP)
    assert await again.find(b"memory")
    assert not await is_whole(again)
    assert await restore(again)
    assert await is_whole(again)


async def test_a_server_that_does_not_tell_its_run_is_never_whole_and_not_away(
    own_server: StartServer, open_client: Open
) -> None:
    server = own_server("redis")
    ask_redis(server.address, "ACL SETUSER app on >secret ~* &* +@all -@dangerous")
    redis = await open_client(f"redis://app:secret@{server.address}")
    firsts = Firsts(redis, "firsts:", KEEP)
    for _ in range(5):
        assert await firsts.memory.begin() is None
        assert not await is_whole(firsts)
    assert not redis.is_away
    assert await firsts.settle(b"a", b"one") == b"one"
