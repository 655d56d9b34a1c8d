"""What a provider may do wrong: forged and stale ID tokens, silence, nonsense, redirects."""

import base64
import hmac
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from joserfc import jws, jwt
from joserfc.jwk import RSAKey

from tests.gateway.visitor import Answer
from tests.oauth.conftest import SESSION, Street
from tests.oauth.providers import CLIENT_ID, Providers

PIA = {"sub": "g-2", "email": "pia@example.test", "email_verified": True}
ON_GITHUB = {"id": 5, "emails": [{"email": "pia@example.test", "primary": True, "verified": True}]}


def refused(answer: Answer, status: int) -> bool:
    return answer.status == status and not any(SESSION in line for line in answer.all("set-cookie"))


def unsigned(claims: dict[str, Any]) -> str:
    return f"{encoded({'alg': 'none'})}.{encoded(claims)}."


def encoded(value: Any) -> str:
    return _base64(json.dumps(value).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_public_key_as_secret(providers: Providers) -> Callable[[dict[str, Any]], str]:
    """RFC 8725, 2.1: an HMAC whose secret is the public key that everybody knows."""
    pem = providers.key.as_pem(private=False)

    def sign(claims: dict[str, Any]) -> str:
        text = f"{encoded({'alg': 'HS256', 'kid': 'k1'})}.{encoded(claims)}"
        return f"{text}.{_base64(hmac.digest(pem, text.encode(), 'sha256'))}"

    return sign


async def test_an_id_token_counts_only_if_all_of_it_is_right(street: Street) -> None:
    providers = street.providers
    now = int(street.clock.now().timestamp())
    stranger = RSAKey.generate_key(2048, {"kid": "k1"})
    wrong_claims: list[dict[str, Any]] = [
        {"iss": "https://accounts.example.test"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": [CLIENT_ID, "another-client"]},  # and no azp
        {"aud": [CLIENT_ID, "another-client"], "azp": "another-client"},
        {"aud": None},
        {"exp": now - 61},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": now + 600},
        {"nbf": now + 600},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"sub": "a\0b"},
        {"sub": "\ud800"},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": {}},
        {"iat": [1]},
        {"iat": float("-inf")},
        {"nbf": "x"},
        {"aud": {}},
        {"aud": [[]]},
        {"aud": 7},
        {"aud": []},
        {"iss": ["x"]},
        {"nonce": {}},
        {"azp": {"a": 1}},
        {"at_hash": 7},
        {"at_hash": "\u00e9"},
        {"at_hash": ["x"]},
        {"amr": "x"},
        {"auth_time": "x"},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    ]
    for claims in wrong_claims:
        providers.claims = claims
        assert refused(await street.log_in(street.browser(), PIA), 400), ascii(claims)
    providers.claims = {}
    for sign in (
        unsigned,
        by_public_key_as_secret(providers),
        lambda claims: jwt.encode({"alg": "RS256", "kid": "k1"}, claims, stranger),
        lambda claims: providers.token_of(claims)[:-6] + "AAAAAA",
        lambda claims: "x",
        lambda claims: "",
        lambda claims: "\N{LATIN SMALL LETTER E WITH ACUTE}.e.e",
        lambda claims: None,
        lambda claims: 7,
        lambda claims: f"{encoded({'alg': 'RS256', 'kid': 'k1'})}.{_base64(b'[' * 100_000)}.e30",
        lambda claims: f"{_base64(b'[' * 100_000)}.e30.e30",
        lambda claims: f"{encoded({'alg': ['RS256'], 'kid': {}})}.e30.e30",
        lambda claims: f"{encoded({'alg': 'RS256', 'kid': ['k1'], 'crit': 'x'})}.e30.e30",
        lambda claims: f"{encoded([])}.e30.e30",
        lambda claims: jws.serialize_compact({"alg": "RS256", "kid": "k1"}, b"[1]", providers.key),
        lambda claims: jws.serialize_compact({"alg": "RS256", "kid": "k1"}, b"[" * 100_000, providers.key),
    ):
        providers.sign = sign  # type: ignore[assignment]
        assert refused(await street.log_in(street.browser(), PIA), 400)
    providers.sign = None
    assert await street.auth.count("accounts") == 0
    providers.claims = {"aud": [CLIENT_ID, "another-client"], "azp": CLIENT_ID, "exp": now - 59}
    assert (await street.log_in(street.browser(), PIA)).status == 302


async def test_an_address_that_is_no_text_or_no_address_has_no_account(street: Street) -> None:
    for email in ("\ud800@example.test", "a\0@example.test", "x", "a@" + "b" * 5000, "operator@localhost"):
        answer = await street.log_in(street.browser(), {**PIA, "email": email})
        assert refused(answer, 403), ascii(email)
    for email in (7, ["pia@example.test"], {}, True):
        assert refused(await street.log_in(street.browser(), {**PIA, "email": email}), 403), email
    assert await street.auth.count("accounts") == 0


async def test_key_sets_that_make_no_sense_are_none(street: Street) -> None:
    for keys in (
        [5],
        ["x"],
        "abc",
        [{"kty": "RSA"}],
        [{"kty": "RSA", "n": 5, "e": []}],
        [{"kty": 5}],
        {"a": 1},
        [],
    ):
        street.clock.at += timedelta(hours=2)
        body = json.dumps({"keys": keys})
        street.providers.answers = {"/jwks": answers(text=body, content_type="application/json")}
        answer = await street.log_in(street.browser(), PIA)
        assert answer.status in (400, 503), (keys, answer.body)
        assert refused(answer, answer.status)


async def test_a_token_or_code_of_another_login_is_worth_nothing(street: Street) -> None:
    """A code that was stolen in one login and injected into another: PKCE and nonce each stop it."""
    victim, thief = street.browser(), street.browser()
    stolen = street.providers.agree(await street.begin(victim), PIA)["code"]
    own = street.providers.agree(await street.begin(thief), {"sub": "thief"})
    assert refused(await street.come_back(thief, {**own, "code": stolen}), 400)
    assert street.providers.token_calls == 1
    for code in ("unknown", "", "x" * 5000, "a\0b"):
        own = street.providers.agree(await street.begin(thief), {"sub": "thief"})
        assert refused(await street.come_back(thief, {**own, "code": code}), 400)
    own = street.providers.agree(await street.begin(thief, "github"), ON_GITHUB)
    assert refused(await street.come_back(thief, {**own, "code": "unknown"}, "github"), 400)
    own = street.providers.agree(await street.begin(thief), PIA)
    assert refused(await street.come_back(thief, {**own, "iss": "https://evil.test"}), 400)
    own = street.providers.agree(await street.begin(thief), PIA)
    assert (await street.come_back(thief, {**own, "iss": street.providers.url})).status == 302


async def test_new_keys_of_the_provider_are_fetched_but_not_at_everybodys_wish(street: Street) -> None:
    providers = street.providers
    assert (await street.log_in(street.browser(), PIA)).status == 302
    assert providers.asked.count("/jwks") == 1
    providers.key = RSAKey.generate_key(2048, {"kid": "k2"})
    assert refused(await street.log_in(street.browser(), PIA), 400)
    assert providers.asked.count("/jwks") == 1, "asked a moment ago"
    street.clock.at += timedelta(minutes=1)
    for _ in range(3):
        assert (await street.log_in(street.browser(), PIA)).status == 302
    assert providers.asked.count("/jwks") == 2
    assert providers.asked.count("/.well-known/openid-configuration") == 1
    street.clock.at += timedelta(hours=1)
    assert (await street.log_in(street.browser(), PIA)).status == 302
    assert providers.asked.count("/.well-known/openid-configuration") == 2


def answers(**fields: Any) -> Callable[[], web.Response]:
    return lambda: web.Response(**fields)


def redirects() -> web.Response:
    raise web.HTTPFound("http://127.0.0.1:9/elsewhere")


ENDPOINTS = (
    ("google", "/.well-known/openid-configuration"),
    ("google", "/token"),
    ("google", "/jwks"),
    ("google", "/userinfo"),
    ("github", "/github/login/oauth/access_token"),
    ("github", "/github/api/v3/user"),
)

NONSENSE = {
    "500": answers(status=500, text="oops"),
    "403": answers(status=403, text="{}"),
    "redirect": redirects,
    "not JSON": answers(text="<html>"),
    "not an object": answers(text="[1]", content_type="application/json"),
    "empty": answers(text="{}", content_type="application/json"),
    "deep": answers(text="[" * 100_000, content_type="application/json"),
    "wrong types": answers(
        text='{"access_token":5,"issuer":5,"keys":5,"id":true,"sub":5}', content_type="application/json"
    ),
    "too long": answers(text=" " * 300_000 + "{}", content_type="application/json"),
    "bad gzip": answers(body=b"x", headers={"content-encoding": "gzip"}),
    "refused": answers(status=401, text='{"error":"invalid_client"}', content_type="application/json"),
    "odd error": answers(status=400, text='{"error":{"a":1}}', content_type="application/json"),
}


async def test_a_provider_that_answers_nonsense_is_taken_for_away(street: Street) -> None:
    street.providers.email_in_userinfo = True
    for provider, path in ENDPOINTS:
        person = PIA if provider == "google" else ON_GITHUB
        for name, answer in NONSENSE.items():
            street.providers.answers = {path: answer}
            street.clock.at += timedelta(hours=2)
            browser = street.browser()
            got = await browser.get(f"/api/v1/auth/login/{provider}")
            if path.startswith("/.well-known"):
                assert got.status == 503, (name, got.body)
                continue
            query = street.providers.agree(got.get("location") or "", person)
            got = await street.come_back(browser, query, provider)
            mistrusted = path == "/userinfo" and name in ("not an object", "empty", "wrong types")
            assert refused(got, 400 if mistrusted else 503), (path, name, got.status, got.body)
            assert browser.cookies == {}
        street.providers.answers = {}
        assert (await street.log_in(street.browser(), person, provider)).status == 302


ODD_VALUES = (
    "[1]",
    "[]",
    '{"a":1}',
    "{}",
    "1e999",
    "Infinity",
    "NaN",
    "-1",
    "1" * 400,
    "true",
    '"x"',
    '"\\ud800"',
)
TOKEN_FIELDS = (
    "expires_in",
    "expires_at",
    "token_type",
    "scope",
    "refresh_token",
    "id_token",
    "access_token",
)


async def test_a_token_answer_of_odd_types_is_never_an_error_of_ours(street: Street) -> None:
    """The library turns `expires_in` into a number, whatever it is; here it is of no use."""
    for provider, path in (("google", "/token"), ("github", "/github/login/oauth/access_token")):
        person = PIA if provider == "google" else ON_GITHUB
        for field in TOKEN_FIELDS:
            for value in ODD_VALUES:
                text = f'{{"access_token":"a","id_token":"i","{field}":{value}}}'
                street.providers.answers = {path: answers(text=text, content_type="application/json")}
                got = await street.log_in(street.browser(), person, provider)
                assert refused(got, 503) or (provider == "google" and refused(got, 400)), (text, got.body)
        for value in (*ODD_VALUES, '"error"', '{"error":[]}', '{"error":{}}', '{"error":null}', "null", "5"):
            street.providers.answers = {path: answers(text=value, content_type="application/json")}
            assert refused(await street.log_in(street.browser(), person, provider), 503), value
    assert await street.auth.count("accounts") == 0


async def test_what_a_provider_says_of_somebody_in_odd_types_is_never_an_error_of_ours(
    street: Street,
) -> None:
    street.providers.email_in_userinfo = True
    for path, provider, fields in (
        ("/userinfo", "google", ("sub", "email", "email_verified")),
        ("/github/api/v3/user", "github", ("id",)),
        ("/github/api/v3/user/emails", "github", ("email", "primary", "verified")),
    ):
        person = PIA if provider == "google" else ON_GITHUB
        for field in fields:
            for value in (*ODD_VALUES, "1" * 5000):
                told = f'{{"id":5,"primary":true,"verified":true,"sub":"g-2","{field}":{value}}}'
                text = f"[{told}]" if path.endswith("emails") else told
                street.providers.answers = {path: answers(text=text, content_type="application/json")}
                got = await street.log_in(street.browser(), person, provider)
                assert got.status in (302, 400, 403, 503), (path, told, got.body)
                assert field == "id" or got.status != 302, (path, told)


async def test_a_provider_that_is_silent_is_given_up_in_time(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.auth.oauth.log_in.PATIENCE", timedelta(seconds=0.3))
    street.providers.answers = {"/token": street.providers.closing.wait}
    browser = street.browser()
    query = street.providers.agree(await street.begin(browser, return_to="/docs"), PIA)
    began = time.monotonic()
    answer = await street.come_back(browser, query)
    assert time.monotonic() - began < 3
    assert refused(answer, 302)
    assert answer.get("location") == "/docs?login_error=unavailable"
    street.providers.answers = {"/.well-known/openid-configuration": street.providers.closing.wait}
    street.clock.at += timedelta(hours=2)
    answer = await browser.get("/api/v1/auth/login/google")
    assert (answer.status, answer.get("retry-after")) == (503, "2")


async def test_a_description_of_another_provider_is_not_used(street: Street) -> None:
    good = json.loads((await street.providers.describe(None)).text or "")  # type: ignore[arg-type]
    for change in (
        {"issuer": "https://evil.test"},
        {"token_endpoint": "file:///etc/passwd"},
        {"authorization_endpoint": "https://["},
        {"authorization_endpoint": {}},
    ):
        body = json.dumps({**good, **change})
        street.providers.answers = {
            "/.well-known/openid-configuration": answers(text=body, content_type="application/json")
        }
        assert (await street.browser().get("/api/v1/auth/login/google")).status == 503
    for name in ("token_endpoint", "jwks_uri"):
        body = json.dumps({**good, name: f"{street.providers.url}\0:[/"})
        street.providers.answers = {
            "/.well-known/openid-configuration": answers(text=body, content_type="application/json")
        }
        street.clock.at += timedelta(hours=2)
        assert refused(await street.log_in(street.browser(), PIA), 503), name
