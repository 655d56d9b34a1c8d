"""Rate limits at the door: cases P1, P2, P8, P9 and P11."""

import asyncio
import secrets
from datetime import timedelta
from typing import Any

import pytest

from services.gateway.settings import GatewaySettings
from shared.errors import RateLimitedError
from shared.web.problems import send_problem
from tests.gateway.conftest import House, new_plain, open_house

T0 = 1_800_000_000


@pytest.mark.parametrize("limit", [60, 300])
async def test_no_second_allowance_at_the_minutes_edge(house: House, limit: int) -> None:
    """P1."""
    await house.follow()
    key = house.new_key(requests_per_minute=limit)
    house.at(-0.5)
    assert {(await house.post_log(key)).status for _ in range(limit)} == {200}
    house.at(0.2)
    for _ in range(60):
        refused = await house.post_log(key)
        assert refused.status == 429
        assert refused.get("retry-after") == "60"
        assert refused.get("x-ratelimit-reset") == str(T0 + 60)
    house.at(59.4)
    late = await house.post_log(key)
    assert (late.status, late.get("retry-after")) == (429, "1")
    house.at(59.6)
    again = await house.post_log(key)
    assert (again.status, again.get("x-ratelimit-remaining")) == (200, str(limit - 1))


async def test_of_200_at_once_exactly_the_limit_passes(house: House) -> None:
    """P2, within one process."""
    key = house.new_key()
    answers = await asyncio.gather(*(house.post_log(key) for _ in range(200)))
    passed = [answer for answer in answers if answer.status == 200]
    assert len(passed) == 60
    assert {answer.status for answer in answers} == {200, 429}
    remaining = [int(answer.get("x-ratelimit-remaining") or -1) for answer in passed]
    assert sorted(remaining) == list(range(60))
    assert len(house.services["ingest"].requests) == 60


async def test_what_the_headers_say(house: House) -> None:
    """P8."""
    await house.follow()
    key = house.new_key()
    answers = [await house.post_log(key) for _ in range(61)]
    first, sixtieth, refused = answers[0], answers[59], answers[60]
    assert first.get("x-ratelimit-limit") == "60"
    assert first.get("x-ratelimit-remaining") == "59"
    assert first.get("x-ratelimit-reset") == "1800000060"
    assert first.get("ratelimit-policy") == '"default";q=60;w=60'
    assert first.get("ratelimit") == '"default";r=59;t=60'
    assert sixtieth.get("x-ratelimit-remaining") == "0"
    assert refused.status == 429
    assert refused.get("x-ratelimit-remaining") == "0"
    assert refused.get("x-ratelimit-reset") == "1800000060"
    assert refused.get("retry-after") == "60"
    assert refused.get("ratelimit") == '"default";r=0;t=60'
    assert refused.json["type"].endswith("/rate-limited")
    house.at(59.4)
    assert (await house.post_log(key)).get("retry-after") == "1"


async def test_a_lowered_limit_holds_at_once(house: House) -> None:
    """P8: from pro to free after 200 calls."""
    await house.follow()
    key = new_plain()
    before = house.auth.add(key, requests_per_minute=1000)
    for _ in range(200):
        assert (await house.post_log(key)).status == 200
    house.auth.add(key, account_id=before.account_id, key_id=before.key_id, requests_per_minute=60)
    await house.log.announce(before.account_id)
    await asyncio.sleep(0.01)
    refused = await house.post_log(key)
    assert refused.status == 429
    assert refused.get("x-ratelimit-limit") == "60"
    assert refused.get("x-ratelimit-remaining") == "0"
    assert int(refused.get("retry-after") or 0) >= 1


async def test_who_sleeps_as_told_is_admitted(local_house: House) -> None:
    """P8: twenty times."""
    key = local_house.new_key(requests_per_minute=2)
    slept = 0
    while slept < 20:
        answer = await local_house.post_log(key)
        if answer.status == 429:
            local_house.tick(int(answer.get("retry-after") or 0))
            slept += 1
            assert (await local_house.post_log(key)).status == 200
        local_house.tick(0.37)


@pytest.mark.parametrize("status", [401, 404, 422])
async def test_a_services_errors_carry_the_limit_once(house: House, status: int) -> None:
    """P8; also when a service sets such headers itself."""
    house.services["ingest"].status = status
    house.services["ingest"].headers = [(b"x-ratelimit-limit", b"7"), (b"ratelimit", b"x")]
    answer = await house.post_log(house.new_key())
    assert answer.status == status
    assert answer.get("x-ratelimit-limit") == "60"


async def test_a_limit_of_a_service_is_told_instead_of_the_gateways_where_it_is_reached(house: House) -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        error = RateLimitedError("No.", retry_after=timedelta(seconds=7), limit=10, reset_at=T0 + 9)
        await send_problem(scope, send, error)

    house.services["registry"].act = refuse
    answer = await house.ask("GET", "/registry")
    assert (answer.status, answer.get("retry-after")) == (429, "7")
    told = [answer.all(name) for name in ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")]
    assert told == [["10"], ["0"], [str(T0 + 9)]]
    assert answer.all("ratelimit") == ['"attempts";r=0;t=7']
    assert answer.all("ratelimit-policy") == ['"attempts";q=10;w=60']
    house.services["registry"].act = None
    assert (await house.ask("GET", "/registry")).get("x-ratelimit-remaining") == "58"


async def test_no_limit_means_no_headers(house: House) -> None:
    key = house.new_key(requests_per_minute=None)
    for _ in range(100):
        answer = await house.post_log(key)
        assert answer.status == 200
        assert answer.get("x-ratelimit-limit") is None
        assert answer.get("ratelimit") is None


async def test_a_limit_of_zero_lets_nothing_through(house: House) -> None:
    answer = await house.post_log(house.new_key(requests_per_minute=0))
    assert answer.status == 429
    assert answer.get("x-ratelimit-limit") == "0"


async def test_invalid_bodies_count(house: House) -> None:
    """P11: 70 x 422 by KEY_F."""
    house.services["ingest"].status = 422
    key = house.new_key()
    statuses = [(await house.post_log(key)).status for _ in range(70)]
    assert statuses == [422] * 60 + [429] * 10


async def test_pages_of_the_gateway_are_not_limited(local_house: House) -> None:
    for _ in range(70):
        for page in ("/", "/health", "/health/live", "/docs"):
            answer = await local_house.ask("GET", page)
            assert answer.status in (200, 503)
            assert answer.get("x-ratelimit-limit") is None
    assert (await local_house.ask("GET", "/registry")).get("x-ratelimit-remaining") == "59"


async def test_a_bad_key_flood_is_stopped_and_shuts_nobody_out(house: House) -> None:
    """P11."""
    await house.follow()
    owner_key = house.new_key(requests_per_minute=1000)
    statuses: list[int] = []
    owner: list[int] = []
    for second in range(60):
        bad_keys = [new_plain() for _ in range(500 // 60 + (1 if second < 500 % 60 else 0))]
        statuses += [(await house.post_log(bad, peer="198.51.100.20")).status for bad in bad_keys]
        owner.append((await house.post_log(owner_key, peer="198.51.100.21")).status)
        house.tick(0.99)
    assert statuses == [401] * 60 + [429] * 440
    assert owner == [200] * 60
    assert len(house.auth.lookups) <= 60 + 2


async def test_a_simultaneous_bad_key_flood_makes_no_lookup_too_many(house: House) -> None:
    answers = await asyncio.gather(*(house.post_log(new_plain()) for _ in range(500)))
    assert sorted(answer.status for answer in answers) == [401] * 60 + [429] * 440
    assert len(house.auth.lookups) == 60
    assert all(answer.get("x-ratelimit-limit") == "60" for answer in answers)


async def test_the_same_bad_key_again_counts_and_is_not_looked_up_again(house: House) -> None:
    await house.follow()
    bad = new_plain()
    statuses = [(await house.post_log(bad)).status for _ in range(65)]
    assert statuses == [401] * 60 + [429] * 5
    assert len(house.auth.lookups) == 1


async def test_malformed_keys_count_against_the_address(local_house: House) -> None:
    statuses = [(await local_house.post_log("nonsense")).status for _ in range(65)]
    assert statuses == [401] * 60 + [429] * 5


async def test_look_alike_keys_do_not_touch_the_real_ones_bucket(house: House) -> None:
    """P11: 100 keys that equal the real one in the first 16 characters."""
    await house.follow()
    key = house.new_key()
    assert (await house.post_log(key, peer="198.51.100.21")).get("x-ratelimit-remaining") == "59"
    for number in range(100):
        look_alike = key[:16] + secrets.token_hex(20)
        await house.post_log(look_alike, peer=f"198.51.100.{number}")
    assert (await house.post_log(key, peer="198.51.100.21")).get("x-ratelimit-remaining") == "58"


async def test_a_known_key_passes_from_an_address_that_floods(house: House) -> None:
    await house.follow()
    key = house.new_key(requests_per_minute=None)
    assert (await house.post_log(key)).status == 200
    for _ in range(70):
        await house.post_log(new_plain())
    assert (await house.post_log(key)).status == 200
    house.tick(30)  # looked up again: it was good, so it does not count as a bad one
    assert (await house.post_log(key)).status == 200


async def test_anonymous_requests_do_not_shut_a_good_key_out(house: House) -> None:
    for _ in range(61):
        anonymous = await house.ask("GET", "/registry")
    assert anonymous.status == 429
    assert (await house.post_log(house.new_key())).status == 200


@pytest.mark.parametrize("mode", ["in_process", "over_http"])
async def test_many_new_keys_behind_one_address_do_not_shut_one_another_out(mode: str) -> None:
    async with open_house(mode, GatewaySettings(anonymous_requests_per_minute=5)) as house:
        keys = [house.new_key() for _ in range(40)]
        answers = await asyncio.gather(*(house.post_log(key) for key in keys))
        assert {answer.status for answer in answers} == {200}
        bad = await asyncio.gather(*(house.post_log(new_plain()) for _ in range(20)))
        assert sorted(answer.status for answer in bad) == [401] * 5 + [429] * 15


async def test_text_that_a_stranger_wrote_is_no_address(house: House) -> None:
    """P9 (a)."""
    for number in range(61):
        address = f"198.51.100.{number}"
        answer = await house.ask(
            "GET",
            "/registry",
            ("X-Forwarded-For", address),
            ("X-Real-IP", address),
            ("Forwarded", f"for={address}"),
            ("CF-Connecting-IP", address),
            peer="203.0.113.5",
        )
    assert answer.status == 429
    request = house.services["registry"].last
    assert request.all("x-forwarded-for") == ["203.0.113.5"]
    assert request.all("x-real-ip") == request.all("forwarded") == request.all("cf-connecting-ip") == []


async def test_behind_a_trusted_proxy_its_own_word_counts() -> None:
    """P9 (b)."""
    async with open_house(settings=GatewaySettings(trusted_proxies=("10.0.0.0/8",))) as house:
        for _ in range(61):
            through = await house.ask(
                "GET", "/registry", ("X-Forwarded-For", "203.0.113.9, 198.51.100.7"), peer="10.1.2.3"
            )
        assert through.status == 429
        assert house.services["registry"].last.all("x-forwarded-for") == ["198.51.100.7"]
        direct = await house.ask("GET", "/registry", peer="203.0.113.9")
        assert direct.get("x-ratelimit-remaining") == "59"
        two_headers = await house.ask(
            "GET",
            "/registry",
            ("X-Forwarded-For", "203.0.113.9"),
            ("X-Forwarded-For", "198.51.100.8"),
            peer="10.1.2.3",
        )
        assert two_headers.get("x-ratelimit-remaining") == "59"
        assert house.services["registry"].last.all("x-forwarded-for") == ["198.51.100.8"]


async def test_hopping_within_a_64_helps_nobody(house: House) -> None:
    """P9 (c)."""
    for number in range(61):
        answer = await house.ask("GET", "/registry", peer=f"2001:db8:7:1::{number:x}")
    assert answer.status == 429
    assert (await house.ask("GET", "/registry", peer="2001:db8:7:2::1")).status == 200


async def test_a_mapped_address_is_the_address(house: House) -> None:
    """P9 (d)."""
    await house.ask("GET", "/registry", peer="::ffff:198.51.100.7")
    answer = await house.ask("GET", "/registry", peer="198.51.100.7")
    assert answer.get("x-ratelimit-remaining") == "58"


@pytest.mark.parametrize("header", ["not-an-ip", "", ",", "1.2.3", "x" * 10_000, "198.51.100.7, "])
async def test_a_header_that_is_no_list_of_addresses_falls_back_to_the_peer(header: str) -> None:
    """P9 (e)."""
    async with open_house(settings=GatewaySettings(trusted_proxies=("10.0.0.0/8",))) as house:
        await house.ask("GET", "/registry", peer="10.1.2.3")
        answer = await house.ask("GET", "/registry", ("X-Forwarded-For", header), peer="10.1.2.3")
        assert (answer.status, answer.get("x-ratelimit-remaining")) == (200, "58")
        assert house.address_limiter.window.tracked_keys == 1


@pytest.mark.parametrize("proxies", [("*",), ("0.0.0.0/0",), ("nonsense",), ("10.0.0.1/8",)])
async def test_trusting_everybody_refuses_to_start(proxies: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="trusted proxies"):
        async with open_house(settings=GatewaySettings(trusted_proxies=proxies)):
            pass


async def test_a_peer_without_an_address_is_served(house: House) -> None:
    """A Unix socket."""
    assert (await house.ask("GET", "/registry", peer=None)).status == 200
