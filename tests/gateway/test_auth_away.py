"""Keys that are known go on being believed while auth is away; no revocation is missed by that."""

import asyncio

from services.gateway.keyring import FOLLOWED_S, WITHOUT_AUTH_S
from shared.errors import UnavailableError
from tests.gateway.conftest import House, new_plain

AWAY = UnavailableError("The database is not available at the moment.")


async def test_a_known_key_outlives_an_outage_of_auth_and_a_strange_one_is_told_to_come_back(
    local_house: House,
) -> None:
    await local_house.follow()
    key, strange = local_house.new_key(requests_per_minute=None), local_house.new_key()
    assert (await local_house.post_log(key)).status == 200
    local_house.auth.away = AWAY
    for _ in range(5):
        local_house.tick(FOLLOWED_S + 1)
        assert (await local_house.post_log(key)).status == 200
    answer = await local_house.post_log(strange)
    assert (answer.status, answer.get("retry-after") is not None) == (503, True)


async def test_tokens_are_renewed_during_the_outage(local_house: House) -> None:
    await local_house.follow()
    key = local_house.new_key(requests_per_minute=None)
    await local_house.post_log(key)
    local_house.auth.away = AWAY
    local_house.tick(600)
    assert (await local_house.post_log(key)).status == 200
    request = local_house.services["ingest"].requests[-1]
    local_house.principals.verify(dict(request.headers)["x-llmring-principal"].encode())


async def test_it_is_believed_for_a_quarter_of_an_hour_and_no_longer(local_house: House) -> None:
    await local_house.follow()
    key = local_house.new_key(requests_per_minute=None)
    await local_house.post_log(key)
    local_house.auth.away = AWAY
    local_house.tick(WITHOUT_AUTH_S - 1)
    assert (await local_house.post_log(key)).status == 200
    local_house.tick(2)
    assert (await local_house.post_log(key)).status == 503


async def test_a_key_that_ends_meanwhile_is_not_believed(local_house: House) -> None:
    await local_house.follow()
    ends_at = int(local_house.clock.at.timestamp()) + 60
    key = local_house.new_key(requests_per_minute=None, expires_at=ends_at)
    await local_house.post_log(key)
    local_house.auth.away = AWAY
    local_house.tick(59)
    assert (await local_house.post_log(key)).status == 200
    local_house.tick(2)
    assert (await local_house.post_log(key)).status == 503


async def test_a_key_whose_account_was_changed_is_not_believed(local_house: House) -> None:
    await local_house.follow()
    key = new_plain()
    found = local_house.auth.add(key, requests_per_minute=None)
    await local_house.post_log(key)
    local_house.auth.away = AWAY
    local_house.tick(FOLLOWED_S + 1)
    assert (await local_house.post_log(key)).status == 200
    await local_house.log.announce(found.account_id)
    await asyncio.sleep(0.005)
    assert (await local_house.post_log(key)).status == 503


async def test_without_the_events_nothing_is_believed(local_house: House) -> None:
    key = local_house.new_key(requests_per_minute=None)
    await local_house.post_log(key)
    local_house.auth.away = AWAY
    local_house.tick(FOLLOWED_S + 1)
    assert (await local_house.post_log(key)).status == 503


async def test_an_auth_that_hangs_costs_one_wait_and_not_one_for_each_request(local_house: House) -> None:
    await local_house.follow()
    key = local_house.new_key(requests_per_minute=None)
    await local_house.post_log(key)
    local_house.auth.gate.clear()
    local_house.tick(FOLLOWED_S + 1)
    loop = asyncio.get_running_loop()
    assert (await local_house.post_log(key)).status == 200
    local_house.tick(FOLLOWED_S + 1)
    began = loop.time()
    assert (await local_house.post_log(key)).status == 200
    assert loop.time() - began < 0.5
    local_house.auth.gate.set()
