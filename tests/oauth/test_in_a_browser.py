"""The whole way in a real browser, over HTTPS: an OpenID provider from npm, and a page in GitHub's place."""

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx

from shared.clock import SystemClock
from tests.conftest import leave_out
from tests.events.node import find_node, install
from tests.live.conftest import open_folder
from tests.live.test_https import SecureServer
from tests.oauth.browser import Chromium, find_programs, open_browser
from tests.oauth.providers import CLIENT_ID, CLIENT_SECRET, Providers, open_providers
from tests.servers.server import MissingServerError

PROVIDER = Path(__file__).with_name("provider")
EMAILS = [{"email": "pia@example.test", "primary": True, "verified": True}]
CALLBACK = "/api/v1/auth/callback"
GOOGLE = '#providers a[href*="/google"]'
GITHUB = '#providers a[href*="/github"]'


@contextlib.contextmanager
def run_openid_provider(callback: str) -> Iterator[str]:
    command = [find_node(), PROVIDER / "provider.mjs", install(PROVIDER), CLIENT_ID, CLIENT_SECRET, callback]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            issuer = process.stdout.readline().strip()
            assert issuer.startswith("http://127.0.0.1:"), issuer
            yield issuer
        finally:
            process.terminate()


@contextlib.contextmanager
def run_server(folder: Path, providers: Providers) -> Iterator[SecureServer]:
    """Ours is at `localhost`, the providers are at `127.0.0.1`: to a browser that is another site."""
    server = SecureServer(folder / "data", folder)
    with run_openid_provider(f"{server.url}{CALLBACK}/google") as issuer:
        server.environment |= {
            "LLMRING_PUBLIC_URL": server.url,
            "LLMRING_GOOGLE_CLIENT_ID": CLIENT_ID,
            "LLMRING_GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
            "LLMRING_GOOGLE_ISSUER": issuer,
            "LLMRING_GITHUB_CLIENT_ID": CLIENT_ID,
            "LLMRING_GITHUB_CLIENT_SECRET": CLIENT_SECRET,
            "LLMRING_GITHUB_URL": f"{providers.url}/github",
        }
        server.spawn()
        try:
            yield server
        finally:
            assert server.stop() == 0


async def test_people_log_in_and_get_their_first_key_once(tmp_path: Path) -> None:
    try:
        find_programs()
        await asyncio.to_thread(install, PROVIDER)
        await asyncio.to_thread(find_node)
    except MissingServerError as error:
        leave_out("browser", error)
    with open_folder() as folder:
        async with open_providers(SystemClock()) as providers:
            providers.person = {"id": 7, "login": "pia", "emails": EMAILS}
            with run_server(folder, providers) as server:
                async with open_browser(tmp_path) as browser:
                    await asyncio.to_thread(server.wait_ready)
                    await walk(browser, server)
        log = server.log.read_text().replace(server.operator_key, "")
        assert not [word for word in ("Traceback", "ERROR", "llmr_pk_", "state=") if word in log], log


async def walk(browser: Chromium, server: SecureServer) -> None:
    # Declining leads back to the page.
    await browser.open(f"{server.url}/login")
    await browser.click(GOOGLE)
    await browser.click('a[href$="/abort"]')
    await browser.shows("#state", "The login was declined.")
    assert await browser.address() == f"{server.url}/login"

    # The provider's own forms: who is it, and may we know?
    await browser.click(GOOGLE)
    await browser.write('input[name="login"]', "pia")
    await browser.write('input[name="password"]', "any")
    await browser.click('button[type="submit"]')
    await browser.shows("body", "Authorize")
    await browser.click('button[type="submit"]')
    await browser.shows("#who", "pia@example.test")
    cookies = await browser.cookies()
    assert list(cookies) == ["__Host-llmring_session"]
    assert {cookies["__Host-llmring_session"][name] for name in ("httpOnly", "secure")} == {True}
    assert cookies["__Host-llmring_session"]["sameSite"] == "Lax"
    account_id = await whoever(browser)

    # The key is shown once, and opens the account.
    await browser.click("#show")
    await browser.shows("#key", "llmr_pk_")
    key = await browser.text("#key")
    async with httpx.AsyncClient(base_url=server.url, verify=server.trust) as http:
        answer = await http.get("/api/v1/keys", headers={"X-API-Key": key})
        assert answer.status_code == 200
        retrieve = "return fetch('/api/v1/auth/retrieve-api-key', {method: 'POST'}).then(a => a.status)"
        assert await browser.run(retrieve) == 410

        # Logged out, and in again from two tabs, of which the later one comes back first.
        await browser.click("#leave")
        first = await browser.tab()
        await browser.click(GITHUB)
        await browser.shows("body", "Authorize llmring-test")
        second = await browser.new_tab()
        await browser.open(f"{server.url}/login")
        await browser.click(GOOGLE)  # the provider still knows her
        await browser.shows("#who", "pia@example.test")
        await browser.turn_to(first)
        await browser.click("a")
        await browser.shows("#who", "pia@example.test")
        assert await whoever(browser) == account_id
        await browser.turn_to(second)
        assert await whoever(browser) == account_id

        # Somebody else's login cannot be finished in her browser.
        begun = await http.get("/api/v1/auth/login/google")
        state = httpx.URL(begun.headers["location"]).params["state"]
        await browser.open(f"{server.url}{CALLBACK}/google?{urlencode({'code': 'x', 'state': state})}")
        await browser.shows("body", "This login was not begun in this browser")
        await browser.open(f"{server.url}/login")
        assert await whoever(browser) == account_id


async def whoever(browser: Chromium) -> str:
    """Whose session the browser has."""
    return str(
        await browser.run("return fetch('/api/v1/auth/me').then(a => a.json()).then(b => b.account_id)")
    )
