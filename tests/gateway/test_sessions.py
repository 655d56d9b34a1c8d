"""A session's cookie at the door: where it counts, where it does not, and whose pages may use it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.gateway.keyring import FOLLOWED_S
from services.gateway.settings import GatewaySettings
from shared.contracts.sessions import origin_of, session_cookie_name
from shared.web.principal import PRINCIPAL_HEADER
from tests.gateway.conftest import House, open_house

NAME = "__Host-llmring_session"
OWN = ("Origin", "https://api.example.test")


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with open_house(settings=GatewaySettings(public_url="https://api.example.test")) as opened:
        yield opened


def open_session(house: House, **fields: Any) -> str:
    token = secrets.token_urlsafe(32)
    house.auth.add_session(token, **fields)
    return token


def cookie(token: str) -> tuple[str, str]:
    return ("Cookie", f"{NAME}={token}")


async def test_a_session_is_a_credential_and_services_are_not_told_its_token(house: House) -> None:
    token = open_session(house, requests_per_minute=7)
    others = ("Cookie", f"theme=dark; {NAME}={token}; lang=de=at")
    answer = await house.ask("GET", "/api/v1/logs", others)
    assert answer.status == 200
    assert (answer.get("x-ratelimit-limit"), answer.get("cache-control")) == ("7", "no-store")
    request = house.services["ingest"].last
    principal = house.principals.verify(request.all(PRINCIPAL_HEADER.decode())[0].encode())
    assert principal.scopes == ("read", "admin", "session")
    assert request.all("cookie") == ["theme=dark; lang=de=at"]
    assert (await house.ask("GET", "/api/v1/logs", cookie(token))).status == 200
    assert house.services["ingest"].last.all("cookie") == []
    assert len(house.auth.lookups) == 1


async def test_a_key_wins_over_a_session(house: House) -> None:
    token, key = open_session(house), house.new_key(requests_per_minute=11)
    for name, value in (("X-API-Key", key), ("Authorization", f"Bearer {key}")):
        answer = await house.ask("GET", "/api/v1/logs", cookie(token), (name, value))
        assert answer.get("x-ratelimit-limit") == "11"
    assert (await house.ask("GET", "/api/v1/logs", cookie(token), ("X-API-Key", "bad"))).status == 401


async def test_a_token_that_is_remembered_is_still_no_key(house: House) -> None:
    token = open_session(house)
    assert (await house.ask("GET", "/api/v1/keys", cookie(token))).status == 200
    for name, value in (("X-API-Key", token), ("Authorization", f"Bearer {token}")):
        assert (await house.ask("GET", "/api/v1/keys", (name, value))).status == 401
    key = house.new_key()
    assert (await house.ask("GET", "/api/v1/keys", ("X-API-Key", key))).status == 200
    assert (await house.ask("GET", "/api/v1/keys", cookie(key))).status == 401
    assert (await house.ask("GET", "/api/v1/keys", ("X-API-Key", key))).status == 200, (
        "it is as good as before"
    )
    assert (await house.ask("GET", "/api/v1/keys", cookie(token))).status == 200


@pytest.mark.parametrize("nominated", ["origin", "Origin, User-Agent", "sec-fetch-site, origin"])
async def test_what_tells_a_foreign_page_cannot_be_nominated_away(house: House, nominated: str) -> None:
    foreign = (("Origin", "https://evil.test"), ("Sec-Fetch-Site", "cross-site"), ("Connection", nominated))
    answer = await house.ask("POST", "/api/v1/keys", cookie(open_session(house)), *foreign)
    assert answer.status == 403


@pytest.mark.parametrize("good", [True, False])
async def test_where_no_key_is_needed_a_session_is_not_looked_at(house: House, good: bool) -> None:
    token = open_session(house) if good else "A" * 43
    for method, path in (("GET", "/registry"), ("POST", "/api/v1/register"), ("POST", "/api/v1/login")):
        answer = await house.ask(method, path, cookie(token), ("Origin", "https://evil.test"))
        assert answer.status == 200
        assert answer.get("x-ratelimit-limit") == "60"
    assert house.auth.lookups == []
    assert not any(
        each.last.all(PRINCIPAL_HEADER.decode()) for each in house.services.values() if each.requests
    )


@pytest.mark.parametrize(
    "sent",
    [
        f"{NAME}={'A' * 43}",
        f"{NAME}={'A' * 42}",
        f"{NAME}={'A' * 44}",
        f"{NAME}=",
        f"{NAME}",
        f"{NAME}={'ü' * 43}",
        f"{NAME}=llmr_pk_{'0' * 48}",
        f"{NAME}={'A' * 43}; {NAME}={'B' * 43}",
    ],
)
async def test_a_bad_session_is_refused_and_counts_as_a_bad_key(house: House, sent: str) -> None:
    answers = [await house.ask("GET", "/api/v1/logs", ("Cookie", sent)) for _ in range(62)]
    assert [answer.status for answer in answers] == [401] * 60 + [429] * 2
    assert answers[0].json["detail"] == "The session is not valid, or has ended: log in again."
    assert answers[0].get("www-authenticate")
    assert len(house.auth.lookups) <= 13  # each answer is remembered for five seconds


@pytest.mark.parametrize("sent", ["", "theme=dark", f"llmring_session={'A' * 43}", f"{NAME}x={'A' * 43}"])
async def test_other_cookies_are_none(house: House, sent: str) -> None:
    answer = await house.ask("GET", "/api/v1/logs", ("Cookie", sent))
    assert answer.status == 401
    assert "API key" in answer.json["detail"]


async def test_a_token_is_no_key_and_a_key_no_token(house: House) -> None:
    token, key = open_session(house), house.new_key()
    assert (await house.ask("GET", "/api/v1/logs", ("X-API-Key", token))).status == 401
    assert (await house.ask("GET", "/api/v1/logs", cookie(key))).status == 401


BROWSER = ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)")
FROM = [
    ([OWN], 200),
    ([OWN, ("Sec-Fetch-Site", "same-origin"), BROWSER], 200),
    ([("Sec-Fetch-Site", "same-origin"), BROWSER], 200),
    ([("Origin", "null"), ("Sec-Fetch-Site", "same-origin")], 200),
    ([("User-Agent", "python-httpx/0.28")], 200),
    ([], 200),
    ([("Origin", "https://evil.test")], 403),
    ([("Origin", "https://evil.test"), ("Sec-Fetch-Site", "same-origin")], 403),
    ([("Origin", "http://api.example.test")], 403),
    ([("Origin", "https://api.example.test:8443")], 403),
    ([("Origin", "https://api.example.test.evil.test")], 403),
    ([("Origin", "https://api.example.test"), ("Origin", "https://evil.test")], 403),
    ([("Origin", "null")], 403),
    ([("Origin", "")], 403),
    ([("Sec-Fetch-Site", "same-site")], 403),
    ([("Sec-Fetch-Site", "cross-site"), BROWSER], 403),
    ([("Sec-Fetch-Site", "none")], 403),
    ([BROWSER], 403),
    ([("Referer", "https://evil.test/")], 403),
]


async def test_what_changes_something_is_taken_from_our_own_pages_alone(house: House) -> None:
    token = open_session(house, requests_per_minute=None)
    for headers, status in FROM:
        for method, path in (("POST", "/api/v1/auth/logout"), ("DELETE", "/api/v1/logs")):
            answer = await house.ask(method, path, cookie(token), *headers)
            assert answer.status == status, (method, headers)
        assert (await house.ask("GET", "/api/v1/logs", cookie(token), *headers)).status == 200
    refused = await house.ask("POST", "/api/v1/auth/logout", cookie(token), ("Origin", "https://evil.test"))
    assert (
        refused.json["detail"]
        == "With a session this is taken from the pages of https://api.example.test alone."
    )
    # A key is sent on purpose: no page of others can make a browser do that.
    key = ("X-API-Key", house.new_key())
    answer = await house.ask("POST", "/api/v1/log", key, cookie(token), ("Origin", "https://evil.test"))
    assert answer.status == 200


@pytest.mark.parametrize(
    ("origins", "status"), [(("https://app.example.test",), 200), (("*",), 403), ((), 403)]
)
async def test_a_site_that_is_trusted_like_our_own_may_use_sessions(
    origins: tuple[str, ...], status: int
) -> None:
    settings = GatewaySettings(public_url="https://api.example.test", cors_origins=origins)
    async with open_house(settings=settings) as house:
        token = open_session(house)
        for origin, wanted in (("https://app.example.test", status), ("https://api.example.test", 200)):
            answer = await house.ask("POST", "/api/v1/auth/logout", cookie(token), ("Origin", origin))
            assert answer.status == wanted
        answer = await house.ask("POST", "/api/v1/auth/logout", cookie(token), ("Origin", "*"))
        assert answer.status == 403


async def test_a_session_is_doubted_with_its_accounts_keys(house: House) -> None:
    token = open_session(house)
    [found] = house.auth.sessions.values()
    await house.follow()
    assert (await house.ask("GET", "/api/v1/logs", cookie(token))).status == 200
    house.auth.sessions.clear()
    assert (await house.ask("GET", "/api/v1/logs", cookie(token))).status == 200
    await house.log.announce(found.account_id)
    await asyncio.sleep(0.01)
    assert (await house.ask("GET", "/api/v1/logs", cookie(token))).status == 401


async def test_a_session_is_remembered_for_no_longer_than_a_key_and_asked_for_as_a_session(
    house: House,
) -> None:
    token = open_session(house)
    await house.follow()
    for _ in range(3):
        assert (await house.ask("GET", "/api/v1/logs", cookie(token))).status == 200
        house.tick(FOLLOWED_S)
    assert len(house.auth.lookups) == 3


@pytest.mark.parametrize(
    ("public_url", "name", "origin"),
    [
        ("https://API.example.test/", "__Host-llmring_session", "https://api.example.test"),
        ("https://api.example.test:443/x", "__Host-llmring_session", "https://api.example.test"),
        ("http://127.0.0.1:8080", "llmring_session", "http://127.0.0.1:8080"),
        ("http://[::1]:80", "llmring_session", "http://[::1]"),
    ],
)
def test_the_public_url_names_the_cookie_and_the_origin(public_url: str, name: str, origin: str) -> None:
    assert (session_cookie_name(public_url), origin_of(public_url)) == (name, origin)
