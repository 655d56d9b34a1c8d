"""Which answers of a provider are taken: case P19."""

import asyncio
from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from services.auth.oauth.log_in import FLOW_LASTS
from tests.gateway.visitor import Answer, ask
from tests.oauth.conftest import ORIGIN, SESSION, Browser, Street
from tests.oauth.providers import CLIENT_ID

ELSEWHERE = (
    *("//evil.test", "https://evil.test", "/\\evil.test", "\\evil.test", "docs", "/a b", "/\t/evil.test"),
    *(
        "/docs\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "/\N{LATIN SMALL LETTER E WITH ACUTE}",
        "/a" * 600,
    ),
)
PIA = {"sub": "g-2", "email": "pia@example.test", "email_verified": True}


def refused(answer: Answer, status: int = 400) -> bool:
    return answer.status == status and not any(SESSION in line for line in answer.all("set-cookie"))


async def test_a_state_is_taken_once_from_the_browser_that_began_at_the_provider_it_began_with(
    street: Street,
) -> None:
    """Case P19 (1) to (7): nothing of it reaches the provider."""
    browser, providers = street.browser(), street.providers
    query = providers.agree(await street.begin(browser), PIA)
    assert refused(await street.come_back(browser, {"code": query["code"]}))
    for state in ("A" * 43, "x", "\N{LATIN SMALL LETTER E WITH ACUTE}" * 43, "A" * 10_000):
        assert refused(await street.come_back(browser, {**query, "state": state}))
    for odd in ("%ED%A0%80", "%FF", "%00", "%", "a%0D%0Ab", "%F0%9F%98%80"):
        assert refused(await browser.get(f"/api/v1/auth/callback/google?state={odd}&code={odd}"))
    assert refused(await street.come_back(street.browser(), query))
    mallory = street.browser()
    await street.begin(mallory)
    assert refused(await street.come_back(mallory, query))
    planted = Browser(browser.app, dict.fromkeys(browser.cookies, "B" * 43))
    assert refused(await street.come_back(planted, query))
    doubled = f"state={query['state']}&state={query['state']}&code={query['code']}"
    assert refused(await planted.get(f"/api/v1/auth/callback/google?{doubled}"))
    assert refused(await browser.get("/api/v1/auth/callback/google", method="HEAD"), 405)
    assert providers.token_calls == 0

    answer = await street.come_back(browser, query)  # none of that has spoilt it
    assert (answer.status, providers.token_calls) == (302, 1)
    used = Browser(browser.app, {**street.browser().cookies})
    used.cookies = dict(browser.cookies)
    assert refused(await street.come_back(used, query))

    other = street.browser()
    query = providers.agree(await street.begin(other, "github"), PIA)
    assert refused(await street.come_back(other, query, "google"))
    assert refused(await street.come_back(other, query, "github"))  # it is spent: somebody mixed it up

    late = street.browser()
    query = providers.agree(await street.begin(late), PIA)
    began_at = street.clock.at
    street.clock.at = began_at + FLOW_LASTS
    assert refused(await street.come_back(late, query))
    assert providers.token_calls == 1
    assert await street.auth.count("sessions") == 1


async def test_a_login_that_has_not_run_out_works_to_the_last_second(street: Street) -> None:
    browser = street.browser()
    query = street.providers.agree(await street.begin(browser), PIA)
    street.clock.at += FLOW_LASTS - timedelta(seconds=1)
    assert (await street.come_back(browser, query)).status == 302
    await street.begin(street.browser())
    street.clock.at += FLOW_LASTS
    await street.begin(street.browser())
    assert await street.auth.count("login_flows") == 1, "what is over is taken out"


async def test_the_same_answer_twice_at_once_makes_one_session(street: Street) -> None:
    browser = street.browser()
    query = street.providers.agree(await street.begin(browser), PIA)
    twins = [Browser(street.gateways[number % 2], dict(browser.cookies)) for number in range(10)]
    answers = await asyncio.gather(*(street.come_back(twin, query) for twin in twins))
    assert sorted(answer.status for answer in answers) == [302, *[400] * 9]
    assert street.providers.token_calls == 1


async def test_who_declines_is_told_so_or_comes_back_to_the_page(street: Street) -> None:
    """Case P19 (7)."""
    for error, sentence in (
        ("access_denied", "declined"),
        ("temporarily_unavailable", "failed: temporarily_unavailable"),
        ("<script>", "failed: an error"),
    ):
        browser = street.browser()
        state = street.providers.agree(await street.begin(browser), PIA)["state"]
        answer = await street.come_back(browser, {"state": state, "error": error})
        assert refused(answer)
        assert sentence in answer.json["detail"]
        assert browser.cookies == {}, "the login's cookie is taken back"
    browser = street.browser()
    location = await street.begin(browser, return_to="/docs?tab=2#top")
    state = street.providers.agree(location, PIA)["state"]
    answer = await street.come_back(browser, {"state": state, "error": "access_denied"})
    assert refused(answer, 302)
    assert answer.get("location") == "/docs?tab=2&login_error=access-denied#top"
    assert street.providers.token_calls == 0


async def test_two_tabs_finish_in_any_order_with_calls_between(street: Street) -> None:
    """Case P19 (8)."""
    browser = street.browser()
    first = await street.begin(browser, return_to="/docs#first")
    second = await street.begin(browser, "github", return_to="/docs#second")
    assert len(browser.cookies) == 2
    emails = [{"email": "pia@example.test", "primary": True, "verified": True}]
    query = street.providers.agree(second, {"id": 5, "emails": emails})
    assert (await browser.get("/registry.json")).status == 200
    answer = await street.come_back(browser, query, "github")
    assert (answer.status, answer.get("location")) == (302, "/docs#second")
    me = await street.account_of(browser)
    answer = await street.come_back(browser, street.providers.agree(first, PIA))
    assert (answer.status, answer.get("location")) == (302, "/docs#first")
    assert (await street.account_of(browser))["account_id"] == me["account_id"]
    assert list(browser.cookies) == [SESSION]


async def test_what_is_sent_to_a_provider(street: Street) -> None:
    browser = street.browser()
    google = urlsplit(await street.begin(browser))
    asked = {name: value for name, [value] in parse_qs(google.query).items()}
    assert google._replace(query="").geturl() == f"{street.providers.url}/authorize"
    assert set(asked) == {
        *("response_type", "client_id", "redirect_uri", "scope", "state"),
        *("nonce", "code_challenge", "code_challenge_method"),
    }
    assert asked["scope"] == "openid email"
    assert asked["client_id"] == CLIENT_ID
    assert asked["redirect_uri"] == f"{ORIGIN}/api/v1/auth/callback/google"
    secrets = {asked["state"], asked["nonce"], asked["code_challenge"], *browser.cookies.values()}
    assert len(secrets) == 4
    github = urlsplit(await street.begin(browser, "github"))
    asked = {name: value for name, [value] in parse_qs(github.query).items()}
    assert github._replace(query="").geturl() == f"{street.providers.url}/github/login/oauth/authorize"
    assert asked["redirect_uri"] == f"{ORIGIN}/api/v1/auth/callback/github"
    assert asked["scope"] == "user:email"
    assert asked["code_challenge_method"] == "S256"
    async with street.auth.database.connection() as connection:
        rows = await connection.fetch("SELECT * FROM auth.login_flows")
    stored = str([list(row.values()) for row in rows])
    assert not [secret for secret in (asked["state"], *browser.cookies.values()) if secret in stored]


async def test_a_login_comes_back_to_our_own_pages_alone(street: Street) -> None:
    browser = street.browser()
    for return_to in ELSEWHERE:
        answer = await browser.get(f"/api/v1/auth/login/google?{urlencode({'return_to': return_to})}")
        assert answer.status == 422, return_to
        assert [fault["field"] for fault in answer.json["errors"]] == ["return_to"]
    assert browser.cookies == {}
    assert await street.auth.count("login_flows") == 0


async def test_a_provider_that_is_unknown_or_not_set_up_is_not_there(street: Street) -> None:
    async def status(path: str, method: str = "GET") -> int:
        return (await ask(street.gateways[0], method, path)).status

    for name in ("gitlab", "Google", "google%00", "..", "google/x", "%2e%2e"):
        assert await status(f"/api/v1/auth/login/{name}") == 404, name
        assert await status(f"/api/v1/auth/callback/{name}?state={'A' * 43}&code=x") == 404, name
    assert (await ask(street.gateways[0], "GET", "/api/v1/auth/login")).json == {
        "providers": ["google", "github"]
    }
    assert await status("/api/v1/auth/login/google/") == 302
    for method in ("POST", "HEAD", "PUT"):
        assert await status("/api/v1/auth/login/google", method) == 405
        assert await status("/api/v1/auth/callback/google", method) == 405


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/api/v1/auth/login", "GET, HEAD, OPTIONS"),
        ("/api/v1/auth/login/google", "GET, OPTIONS"),
        ("/api/v1/auth/callback/google", "GET, OPTIONS"),
        ("/api/v1/auth/retrieve-api-key", "GET, OPTIONS, POST"),
        ("/api/v1/auth/me", "GET, HEAD, OPTIONS"),
    ],
)
async def test_head_begins_and_spends_nothing_and_options_says_where_it_works(
    street: Street, path: str, allow: str
) -> None:
    browser = await street.enter({"sub": "g-1", "email": "nora@example.test", "email_verified": True})
    answer = await browser.get(path, method="OPTIONS")
    assert (answer.status, answer.get("allow")) == (204, allow)
    answer = await browser.get(path, method="HEAD")
    assert answer.status == (200 if "HEAD" in allow else 405)
    assert await street.auth.count("login_flows") == 0
    assert (await browser.post("/api/v1/auth/retrieve-api-key")).status == 200
