"""Who gets in: keys by either header, malformed ones without a lookup, and what a service is told."""

import asyncio
import base64
from typing import Any

import msgspec
import pytest

from services.gateway.settings import GatewaySettings
from shared.contracts.keys import Principal
from shared.errors import ForbiddenError, UnauthenticatedError, UnavailableError
from tests.gateway.conftest import LOG, House, new_plain, open_house
from tests.gateway.streets import until

JSON = ("Content-Type", "application/json")


def principal_in(house: House, request: Any) -> Principal:
    tokens = request.all("x-llmring-principal")
    assert len(tokens) == 1
    return house.principals.verify(tokens[0].encode())


async def test_a_request_without_a_key_is_told_how_to_send_one(house: House) -> None:
    answer = await house.ask("POST", "/api/v1/log", JSON, body=LOG)
    assert answer.status == 401
    assert answer.get("www-authenticate") == 'Bearer realm="llmring"'
    assert "X-API-Key" in answer.json["detail"]
    assert answer.get("cache-control") == "no-store"
    assert house.services["ingest"].requests == []


@pytest.mark.parametrize("style", ["x-api-key", "bearer", "both", "bearer in small letters"])
async def test_a_key_opens_by_either_header(house: House, style: str) -> None:
    key = house.new_key()
    headers = {
        "x-api-key": [("X-API-Key", key)],
        "bearer": [("Authorization", f"Bearer {key}")],
        "both": [("X-API-Key", key), ("Authorization", f"Bearer {key}")],
        "bearer in small letters": [("authorization", f"bearer {key}")],
    }[style]
    answer = await house.ask("POST", "/api/v1/log", JSON, *headers, body=LOG)
    assert (answer.status, answer.json) == (200, {"service": "ingest"})
    assert house.services["ingest"].last.body == LOG


async def test_a_service_gets_the_principal_and_never_the_key(house: House) -> None:
    key = new_plain()
    found = house.auth.add(key, scopes=("log", "operator"), requests_per_minute=300, logs_per_month=None)
    await house.ask(
        "POST",
        "/api/v1/log?a=1&b=",
        JSON,
        ("X-API-Key", key),
        ("Authorization", f"Bearer {key}"),
        body=LOG,
    )
    request = house.services["ingest"].last
    assert key not in repr(request)
    assert request.query == "a=1&b="
    principal = principal_in(house, request)
    assert principal.account_id == found.account_id
    assert principal.key_id == found.key_id
    assert principal.scopes == ("log", "operator")
    assert (principal.requests_per_minute, principal.logs_per_month) == (300, None)


MALFORMED: dict[str, list[tuple[str, str]]] = {
    "empty": [("X-API-Key", "")],
    "blank": [("X-API-Key", "   ")],
    "a blank inside": [("X-API-Key", "llmr_pk_0123 4567")],
    "a tab inside": [("X-API-Key", "llmr_pk_0123\t4567")],
    "another prefix": [("X-API-Key", "sk_" + "0" * 48)],
    "the prefix alone": [("X-API-Key", "llmr_pk_")],
    "the prefix in capitals": [("X-API-Key", "LLMR_PK_" + "0" * 48)],
    "256 characters": [("X-API-Key", "llmr_pk_" + "0" * 248)],
    "10 kB": [("X-API-Key", "llmr_pk_" + "0" * 10_000)],
    "not ASCII": [("X-API-Key", "llmr_pk_\xe9" + "0" * 40)],
    "a control character": [("X-API-Key", "llmr_pk_\x01" + "0" * 40)],
    "two keys": [("X-API-Key", "llmr_pk_" + "0" * 48), ("X-API-Key", "llmr_pk_" + "1" * 48)],
    "the same key twice": [("X-API-Key", "llmr_pk_" + "0" * 48)] * 2,
    "two Authorization headers": [("Authorization", "Bearer llmr_pk_" + "0" * 48)] * 2,
    "two different ways": [
        ("X-API-Key", "llmr_pk_" + "0" * 48),
        ("Authorization", "Bearer llmr_pk_" + "1" * 48),
    ],
    "a key and Basic": [("X-API-Key", "llmr_pk_" + "0" * 48), ("Authorization", "Basic YTpi")],
    "Basic": [("Authorization", "Basic YTpi")],
    "an empty Authorization": [("Authorization", "")],
    "Bearer and nothing": [("Authorization", "Bearer ")],
    "Bearer twice": [("Authorization", "Bearer Bearer llmr_pk_" + "0" * 48)],
    "a comma": [("X-API-Key", "llmr_pk_" + "0" * 48 + ",x")],
}


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("target", ["/api/v1/stats", "/registry"])
async def test_what_is_no_key_is_refused_without_a_lookup(local_house: House, case: str, target: str) -> None:
    answer = await local_house.ask("GET", target, *MALFORMED[case])
    assert answer.status == 401
    assert local_house.auth.lookups == []
    assert all(not service.requests for service in local_house.services.values())


async def test_a_key_of_255_characters_is_looked_up(local_house: House) -> None:
    key = "llmr_pk_" + "0" * 247
    local_house.auth.add(key)
    assert (await local_house.post_log(key)).status == 200


async def test_an_unknown_key_is_refused(house: House) -> None:
    answer = await house.post_log(new_plain())
    assert answer.status == 401
    assert len(house.auth.lookups) == 1


async def test_a_public_path_takes_no_key_and_a_good_one_but_no_bad_one(house: House) -> None:
    key = house.new_key()
    assert (await house.ask("GET", "/registry.json")).status == 200
    assert house.services["registry"].last.all("x-llmring-principal") == []
    assert (await house.ask("GET", "/registry.json", ("X-API-Key", key))).status == 200
    principal_in(house, house.services["registry"].last)
    assert (await house.ask("GET", "/registry.json", ("X-API-Key", new_plain()))).status == 401


async def test_registering_does_not_care_about_a_key(house: House) -> None:
    body = b'{"email":"a@example.test"}'
    answer = await house.ask("POST", "/api/v1/register", JSON, ("X-API-Key", new_plain()), body=body)
    assert answer.status == 200
    assert answer.get("cache-control") == "no-store"
    request = house.auth.last
    assert (request.path, request.body) == ("/api/v1/register", body)
    assert request.all("x-api-key") == request.all("x-llmring-principal") == []


async def test_verifying_a_receipt_is_open_and_reading_one_is_not(house: House) -> None:
    assert (await house.ask("POST", "/api/v1/receipts/verify", JSON, body=b"{}")).status == 200
    assert (await house.ask("GET", "/api/v1/receipts/public-keys.json")).status == 200
    assert (await house.ask("HEAD", "/api/v1/receipts/public-key.pem")).status == 200
    assert (await house.ask("GET", "/api/v1/receipts/verify")).status == 401
    assert (await house.ask("POST", "/api/v1/receipts/public-keys.json")).status == 401
    assert (await house.ask("GET", "/api/v1/receipts/0198")).status == 401
    assert (await house.ask("POST", "/api/v1/receipts", JSON, body=b"{}")).status == 401


async def test_a_cached_key_costs_no_second_lookup(house: House) -> None:
    await house.follow()
    key = house.new_key(requests_per_minute=None)
    tokens = set()
    for _ in range(29):
        assert (await house.post_log(key)).status == 200
        tokens.update(house.services["ingest"].last.all("x-llmring-principal"))
        house.tick(1)
    assert len(house.auth.lookups) == 1
    assert len(tokens) == 1
    house.tick(1)
    assert (await house.post_log(key)).status == 200
    assert len(house.auth.lookups) == 2


async def test_a_principal_token_is_used_until_a_minute_before_its_end(local_house: House) -> None:
    key = local_house.new_key(requests_per_minute=None)
    tokens: list[str] = []
    for _ in range(300):
        assert (await local_house.post_log(key)).status == 200
        [token] = local_house.services["ingest"].last.all("x-llmring-principal")
        tokens.append(token)
        expires_at = principal_in(local_house, local_house.services["ingest"].last).expires_at
        assert expires_at - local_house.clock.now().timestamp() >= 59
        local_house.tick(1)
    assert len(set(tokens)) == 2
    payload = base64.urlsafe_b64decode(tokens[0].split(".")[0])
    assert "llmr_pk_" not in msgspec.json.decode(payload, type=dict).__repr__()


async def test_fifty_requests_at_once_ask_auth_once(house: House) -> None:
    key = house.new_key(requests_per_minute=None)
    answers = await asyncio.gather(*(house.post_log(key) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert len(house.auth.lookups) == 1


async def test_who_leaves_does_not_take_the_lookup_with_him(house: House) -> None:
    key = house.new_key()
    house.auth.gate.clear()
    first = asyncio.create_task(house.post_log(key))
    await until(lambda: len(house.auth.lookups) == 1)
    second = asyncio.create_task(house.post_log(key))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    house.auth.gate.set()
    assert (await second).status == 200
    assert len(house.auth.lookups) == 1


async def test_auth_away_is_a_503_for_new_keys_only(house: House) -> None:
    await house.follow()
    known, new = house.new_key(), house.new_key()
    assert (await house.post_log(known)).status == 200
    house.auth.away = UnavailableError("The database is away.")
    answer = await house.post_log(new)
    assert answer.status == 503
    assert int(answer.get("retry-after") or 0) >= 1
    assert (await house.post_log(known)).status == 200
    house.auth.away = None
    assert (await house.post_log(new)).status == 200


@pytest.mark.parametrize("error", [UnauthenticatedError("No."), ForbiddenError("No.")])
async def test_a_gateway_that_auth_does_not_trust_refuses_nobodys_key(house: House, error: Exception) -> None:
    key = house.new_key()
    house.auth.away = error  # type: ignore[assignment]
    assert (await house.post_log(key)).status == 503


async def test_an_outage_of_auth_does_not_use_up_the_addresses_bad_keys(house: House) -> None:
    house.auth.away = UnavailableError("The database is away.")
    for _ in range(100):
        assert (await house.post_log(new_plain())).status == 503
    house.auth.away = None
    assert (await house.post_log(house.new_key())).status == 200


async def test_a_key_ends_neither_before_its_time_nor_after_it(house: House) -> None:
    await house.follow()
    key = house.new_key(expires_at=1_800_000_010.79, requests_per_minute=None)
    for second, status in [(0, 200), (10, 200), (10.789999, 200), (10.79, 401), (10.9, 401), (60, 401)]:
        house.at(second)
        assert (await house.post_log(key)).status == status


async def test_an_expired_key_is_not_believed_though_auth_still_knows_it(house: House) -> None:
    assert (await house.post_log(house.new_key(expires_at=1_800_000_000))).status == 401


async def test_the_keyring_is_bounded() -> None:
    async with open_house(settings=GatewaySettings(cached_keys=3)) as house:
        await house.follow()
        keys = [house.new_key() for _ in range(4)]
        for key in keys:
            await house.post_log(key)
        for key in keys[1:]:
            await house.post_log(key)
        assert len(house.auth.lookups) == 4
        await house.post_log(keys[0])
        assert len(house.auth.lookups) == 5


async def test_forged_identity_headers_never_pass(house: House) -> None:
    key = house.new_key()
    forged = [
        ("X-LLMRing-Principal", "forged"),
        ("x-llmring-anything", "forged"),
        ("X_LLMRing_Principal", "forged"),
        ("X-User-ID", "forged"),
        ("X-Project-ID", "forged"),
        ("X-Account-ID", "forged"),
        ("Remote-User", "forged"),
        ("X-Forwarded-User", "forged"),
        ("X-HTTP-Method-Override", "forged"),
        ("X-Original-URL", "/forged"),
    ]
    await house.ask("POST", "/api/v1/log", JSON, ("X-API-Key", key), *forged, body=LOG)
    await house.ask("GET", "/registry", *forged)
    assert "forged" not in repr(house.services["ingest"].last)
    assert "forged" not in repr(house.services["registry"].last)
    principal_in(house, house.services["ingest"].last)
