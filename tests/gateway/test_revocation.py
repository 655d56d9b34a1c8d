"""A revoked key dies within a second, whatever happens to the event log: case P12."""

import asyncio
import time

import pytest

from shared.contracts.topics import KEYS_CHANGED
from shared.event_log.port import Record
from tests.gateway.conftest import House, new_plain, open_house
from tests.gateway.streets import until


async def test_fifty_requests_after_a_revocation_are_all_refused(house: House) -> None:
    await house.follow()
    key = new_plain()
    found = house.auth.add(key, requests_per_minute=None)
    assert (await house.post_log(key)).status == 200
    stored = len(house.services["ingest"].requests)
    house.auth.remove(key)
    await house.log.announce(found.account_id)
    await asyncio.sleep(0.005)
    answers = await asyncio.gather(*(house.post_log(key) for _ in range(50)))
    assert {answer.status for answer in answers} == {401}
    assert len(house.services["ingest"].requests) == stored


async def test_only_the_changed_accounts_keys_are_asked_for_again(local_house: House) -> None:
    await local_house.follow()
    key, other = new_plain(), local_house.new_key()
    found = local_house.auth.add(key)
    second = local_house.new_key(account_id=found.account_id)
    for plain in (key, second, other):
        await local_house.post_log(plain)
    await local_house.log.announce(found.account_id)
    await asyncio.sleep(0.005)
    for plain in (key, second, other):
        assert (await local_house.post_log(plain)).status == 200
    assert len(local_house.auth.lookups) == 5


async def test_a_new_tier_holds_at_once(local_house: House) -> None:
    await local_house.follow()
    key = new_plain()
    found = local_house.auth.add(key, requests_per_minute=60)
    assert (await local_house.post_log(key)).get("x-ratelimit-limit") == "60"
    local_house.auth.add(key, account_id=found.account_id, key_id=found.key_id, requests_per_minute=5000)
    await local_house.log.announce(found.account_id)
    await asyncio.sleep(0.005)
    assert (await local_house.post_log(key)).get("x-ratelimit-limit") == "5000"


async def test_a_lookup_that_began_before_the_revocation_is_not_remembered(house: House) -> None:
    await house.follow()
    key = new_plain()
    found = house.auth.add(key, requests_per_minute=None)
    house.auth.gate.clear()
    before = asyncio.create_task(house.post_log(key))
    await until(lambda: len(house.auth.lookups) == 1)
    house.auth.remove(key)
    await house.log.announce(found.account_id)
    await asyncio.sleep(0.005)
    after = asyncio.create_task(house.post_log(key))
    await until(lambda: len(house.auth.lookups) == 2)
    house.auth.gate.set()
    assert (await before).status == 200  # it was sent while the key was good
    assert (await after).status == 401
    assert (await house.post_log(key)).status == 401


async def test_a_bad_key_that_becomes_good_is_not_refused_for_long(local_house: House) -> None:
    await local_house.follow()
    key = new_plain()
    assert (await local_house.post_log(key)).status == 401
    found = local_house.auth.add(key)
    assert (await local_house.post_log(key)).status == 401
    await local_house.log.announce(found.account_id)
    await asyncio.sleep(0.005)
    assert (await local_house.post_log(key)).status == 200


async def test_a_bad_key_is_asked_for_again_after_five_seconds(local_house: House) -> None:
    await local_house.follow()
    key = new_plain()
    assert (await local_house.post_log(key)).status == 401
    local_house.auth.add(key)
    local_house.tick(5)
    assert (await local_house.post_log(key)).status == 200


async def test_an_event_that_cannot_be_read_makes_every_key_doubtful(local_house: House) -> None:
    await local_house.follow()
    key = local_house.new_key()
    await local_house.post_log(key)
    await local_house.log.append(KEYS_CHANGED, [Record(b"", b"{nonsense")])
    await asyncio.sleep(0.005)
    local_house.auth.remove(key)
    assert (await local_house.post_log(key)).status == 401


async def test_unfollowed_a_key_is_remembered_for_one_second(house: House) -> None:
    """Before the tail is open, and while the log is away."""
    key = house.new_key(requests_per_minute=None)
    assert (await house.post_log(key)).status == 200
    house.tick(0.99)
    assert (await house.post_log(key)).status == 200
    assert len(house.auth.lookups) == 1
    house.auth.remove(key)
    house.tick(0.01)
    assert (await house.post_log(key)).status == 401


@pytest.mark.parametrize("fault", ["away", "hung", "silent"])
async def test_a_log_in_trouble_is_noticed_within_a_second(local_house: House, fault: str) -> None:
    await local_house.follow()
    key = new_plain()
    found = local_house.auth.add(key, requests_per_minute=None)
    assert (await local_house.post_log(key)).status == 200
    setattr(local_house.log, fault, True)
    local_house.auth.remove(key)
    if fault == "silent":
        await local_house.log.announce(found.account_id)
    began = time.monotonic()
    while (await local_house.post_log(key)).status == 200:
        await asyncio.sleep(0.01)
        assert time.monotonic() - began < 1
    setattr(local_house.log, fault, False)


async def test_the_log_coming_back_is_followed_again(local_house: House) -> None:
    await local_house.follow()
    local_house.log.away = True
    await asyncio.sleep(0.8)
    local_house.log.away = False
    opened = local_house.log.opened
    key = new_plain()
    found = local_house.auth.add(key, requests_per_minute=None)
    await until(lambda: local_house.log.opened > opened)
    await asyncio.sleep(0.01)
    assert (await local_house.post_log(key)).status == 200
    local_house.tick(29)
    assert (await local_house.post_log(key)).status == 200
    assert len(local_house.auth.lookups) == 1
    local_house.auth.remove(key)
    await local_house.log.announce(found.account_id)
    await asyncio.sleep(0.005)
    assert (await local_house.post_log(key)).status == 401


async def test_a_doubted_key_passes_though_its_address_has_shown_many_bad_ones(local_house: House) -> None:
    await local_house.follow()
    key = new_plain()
    found = local_house.auth.add(key, requests_per_minute=None)
    assert (await local_house.post_log(key)).status == 200
    for _ in range(61):
        refused = await local_house.post_log(new_plain())
    assert refused.status == 429
    await local_house.log.announce(found.account_id)
    await asyncio.sleep(0.005)
    lookups = len(local_house.auth.lookups)
    assert (await local_house.post_log(key)).status == 200
    assert len(local_house.auth.lookups) == lookups + 1
    local_house.auth.remove(key)
    await local_house.log.announce(found.account_id)
    await asyncio.sleep(0.005)
    assert (await local_house.post_log(key)).status == 429  # bad now, and its address has shown too many
    assert (await local_house.post_log(key, peer="198.51.100.99")).status == 401


async def test_a_log_that_fails_in_an_unforeseen_way_is_followed_again(local_house: House) -> None:
    await local_house.follow()
    opened = local_house.log.opened
    local_house.log.break_tails(ZeroDivisionError("nobody thought of it"))
    await until(lambda: local_house.log.opened > opened)
    await asyncio.sleep(0.01)
    key = new_plain()
    found = local_house.auth.add(key)
    assert (await local_house.post_log(key)).status == 200
    local_house.auth.remove(key)
    await local_house.log.announce(found.account_id)
    await asyncio.sleep(0.005)
    assert (await local_house.post_log(key)).status == 401


async def test_a_quiet_log_is_trusted_for_long(local_house: House) -> None:
    await local_house.follow()
    key = local_house.new_key(requests_per_minute=None)
    await local_house.post_log(key)
    await asyncio.sleep(1.2)
    await local_house.post_log(key)
    assert len(local_house.auth.lookups) == 1
    assert local_house.log.opened == 1


async def test_following_ends_when_told(local_house: House) -> None:
    await local_house.follow()
    began = time.monotonic()
    await local_house.close()
    assert time.monotonic() - began < 0.5


async def test_a_rotated_key_lives_until_its_own_end() -> None:
    """P12: the old key until its end, the new one at once."""
    async with open_house() as house:
        await house.follow()
        old = new_plain()
        found = house.auth.add(old, expires_at=1_800_003_600, requests_per_minute=None)
        await house.post_log(old)
        new = house.new_key(account_id=found.account_id, expires_at=1_800_003_600, requests_per_minute=None)
        await house.log.announce(found.account_id)
        for second, status in [(0, 200), (3599, 200), (3600, 401)]:
            house.at(second)
            assert (await house.post_log(new)).status == status
            assert (await house.post_log(old)).status == status
