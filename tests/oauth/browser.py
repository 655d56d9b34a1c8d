"""A real browser: Chromium, led by WebDriver (W3C) over HTTP."""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import httpx

from tests.servers.process import answers, find_free_port
from tests.servers.server import MissingServerError

_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
"""By this name the standard hands elements out."""

_FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",  # where the tests run as root it has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)
_PATIENCE_S: Final = 10


class Chromium:
    """One window, with cookies of its own."""

    def __init__(self, http: httpx.AsyncClient, session: str) -> None:
        self._http = http
        self._session = session

    async def open(self, url: str) -> None:
        await self._ask("POST", "/url", url=url)

    async def address(self) -> str:
        return str(await self._ask("GET", "/url"))

    async def click(self, css: str) -> None:
        await self._ask("POST", f"/element/{await self._find(css)}/click")

    async def write(self, css: str, text: str) -> None:
        await self._ask("POST", f"/element/{await self._find(css)}/value", text=text)

    async def text(self, css: str) -> str:
        return str(await self._ask("GET", f"/element/{await self._find(css)}/text"))

    async def shows(self, css: str, wanted: str) -> None:
        """Wait until a part of the page, which may yet have to load, has this in its text."""
        seen: object = None
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while asyncio.get_running_loop().time() < deadline:
            try:
                seen = await self.text(css)
            except WebDriverError as error:
                seen = error
            if isinstance(seen, str) and wanted in seen:
                return
            await asyncio.sleep(0.05)
        page = await self.text("body")
        raise AssertionError(f"{await self.address()}: {css} has {seen!r}, not {wanted!r}, in: {page}")

    async def cookies(self) -> dict[str, dict[str, Any]]:
        return {cookie["name"]: cookie for cookie in await self._ask("GET", "/cookie")}

    async def run(self, script: str) -> Any:
        """What a function body returns; it may be a promise."""
        return await self._ask("POST", "/execute/sync", script=script, args=[])

    async def tab(self) -> str:
        return str(await self._ask("GET", "/window"))

    async def new_tab(self) -> str:
        handle = (await self._ask("POST", "/window/new", type="tab"))["handle"]
        await self.turn_to(handle)
        return str(handle)

    async def turn_to(self, handle: str) -> None:
        await self._ask("POST", "/window", handle=handle)

    async def _find(self, css: str) -> str:
        found = await self._ask("POST", "/element", using="css selector", value=css)
        return str(found[_ELEMENT])

    async def _ask(self, method: str, path: str, **body: Any) -> Any:
        answer = await self._http.request(
            method, self._session + path, json=body if method == "POST" else None
        )
        value = answer.json()["value"]
        if answer.status_code != 200:
            raise WebDriverError(f"{value['error']}: {value['message'].splitlines()[0]}")
        return value


class WebDriverError(Exception):
    """The browser could not do it."""


def find_programs() -> tuple[str, str]:
    """The browser and its driver.

    Raises:
        MissingServerError: one of them is not on this machine.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        raise MissingServerError("chromium and chromedriver are not installed")
    return browser, driver


def _start(command: list[str], log: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=log, stderr=log)


@contextlib.asynccontextmanager
async def open_browser(folder: Path) -> AsyncIterator[Chromium]:
    """A browser that nobody has used, and that reaches this machine alone.

    Raises:
        MissingServerError: there is none.
    """
    browser, driver = find_programs()
    port = find_free_port()
    with (folder / "chromedriver.log").open("wb") as log:
        process = _start([driver, f"--port={port}"], log)
    try:
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(answers, f"127.0.0.1:{port}"):
                assert process.poll() is None, (folder / "chromedriver.log").read_text()
                await asyncio.sleep(0.05)
        wanted = {
            "acceptInsecureCerts": True,
            "timeouts": {"implicit": _PATIENCE_S * 1000},
            "goog:chromeOptions": {
                "binary": browser,
                "args": [*_FLAGS, f"--user-data-dir={folder / 'profile'}"],
            },
        }
        async with httpx.AsyncClient(timeout=60) as http:
            sessions = f"http://127.0.0.1:{port}/session"
            answer = await http.post(sessions, json={"capabilities": {"alwaysMatch": wanted}})
            assert answer.status_code == 200, answer.text
            session = f"{sessions}/{answer.json()['value']['sessionId']}"
            try:
                yield Chromium(http, session)
            finally:
                ended = await http.delete(session)
                assert ended.status_code == 200, ended.text
    finally:
        process.terminate()
        process.wait(timeout=20)
