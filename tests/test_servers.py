"""The layer that gives tests their servers gives real ones, each test a place of its own."""

import pytest

from tests.conftest import StartServer
from tests.servers.redis import ask_redis


def address_and_number(redis_url: str) -> tuple[str, str]:
    """The parts of `redis://host:port/number`."""
    address, _, number = redis_url.removeprefix("redis://").partition("/")
    return address, number


@pytest.mark.redis
@pytest.mark.parametrize("round_number", [1, 2])
def test_redis_is_real_and_empty_for_every_test(redis_url: str, round_number: int) -> None:
    address, number = address_and_number(redis_url)
    assert ask_redis(address, f"SELECT {number}", "DBSIZE") == "+OK\r\n:0\r\n"
    answers = ask_redis(address, f"SELECT {number}", f"SET round {round_number}", "EXISTS round")
    assert answers == "+OK\r\n+OK\r\n:1\r\n"


@pytest.mark.redis
def test_a_redis_of_a_tests_own_can_be_killed_and_comes_back(own_server: StartServer) -> None:
    server = own_server("redis")
    assert ask_redis(server.address, "PING") == "+PONG\r\n"
    server.kill()
    with pytest.raises(ConnectionError):
        ask_redis(server.address, "PING")
    server.start()
    assert ask_redis(server.address, "PING") == "+PONG\r\n"
