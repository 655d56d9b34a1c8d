"""Carries calls out over HTTP, blocking or not."""

import asyncio
import logging
import os
import re
import threading
import time
from typing import Final, TypeVar

import httpx

from llmring.api.exceptions import APIError, APINetworkError
from llmring.api.exchange import Flow, Pause, Request, Response
from llmring.api.models import given
from llmring.api.settings import Settings

T = TypeVar("T")

log = logging.getLogger("llmring.api")

USER_AGENT: Final = "llmring-api-client/0.1.0"
_SHOWN_BYTES: Final = 2000
_SECRET: Final = re.compile(r"(llmr_[a-z]+_|whsec_)[A-Za-z0-9+/=_-]+")


class SyncTransport:
    """Runs calls in the thread that asks. Any number of threads may."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: httpx.Client | None = None
        self._process = 0
        self._opening = threading.Lock()

    def run(self, flow: Flow[T]) -> T:
        """Carry a call out to its end.

        Raises:
            APIError: as the call says.
        """
        try:
            step = next(flow)
            while True:
                try:
                    outcome = self._take(step)
                except APIError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    def close(self) -> None:
        """Close the connections. A later call opens them anew."""
        if self._client is not None and self._process == os.getpid():
            self._client.close()
        self._client = None

    def _take(self, step: Request | Pause) -> Response | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        started = time.monotonic()
        try:
            answer = self._open().request(
                step.method, step.path, params=given(step.params), content=step.body, headers=step.headers
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _network_error(step, error) from error
        return _told(self._settings, step, answer, started)

    def _open(self) -> httpx.Client:
        if self._process != os.getpid():
            # A forked child must not write into its parent's connections, nor wait for its threads.
            self._process, self._client, self._opening = os.getpid(), None, threading.Lock()
        with self._opening:
            if self._client is None:
                self._client = httpx.Client(
                    base_url=self._settings.base_url,
                    headers=_headers(self._settings),
                    timeout=self._settings.timeout_s,
                    limits=httpx.Limits(max_connections=self._settings.max_connections),
                )
            return self._client


class AsyncTransport:
    """Runs calls on the event loop that asks; each loop has connections of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}

    async def run(self, flow: Flow[T]) -> T:
        """Carry a call out to its end.

        Raises:
            APIError: as the call says.
        """
        try:
            step = next(flow)
            while True:
                try:
                    outcome = await self._take(step)
                except APIError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    async def close(self) -> None:
        """Close this loop's connections. A later call opens them anew."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    async def _take(self, step: Request | Pause) -> Response | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        started = time.monotonic()
        try:
            answer = await self._open().request(
                step.method, step.path, params=given(step.params), content=step.body, headers=step.headers
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _network_error(step, error) from error
        return _told(self._settings, step, answer, started)

    def _open(self) -> httpx.AsyncClient:
        # Connections belong to the loop that opened them; another `asyncio.run` is another loop.
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            for ended in [each for each in list(self._clients) if each.is_closed()]:
                del self._clients[ended]
            self._clients[loop] = httpx.AsyncClient(
                base_url=self._settings.base_url,
                headers=_headers(self._settings),
                timeout=self._settings.timeout_s,
                limits=httpx.Limits(max_connections=self._settings.max_connections),
            )
        return self._clients[loop]


def _headers(settings: Settings) -> dict[str, str]:
    headers = {"User-Agent": USER_AGENT, "Content-Type": "application/json", "Accept": "application/json"}
    return headers | ({"X-API-Key": settings.api_key} if settings.api_key else {})


def _network_error(request: Request, error: Exception) -> APINetworkError:
    text = str(error) or type(error).__name__
    return APINetworkError(f"{request.method} {request.path}: {text}", instance=request.path)


def _told(settings: Settings, request: Request, answer: httpx.Response, started: float) -> Response:
    if settings.debug:
        elapsed_ms = (time.monotonic() - started) * 1000
        log.debug("-> %s %s %s", request.method, answer.request.url, _show(request.body or b"", settings))
        log.debug("<- %d in %.0f ms %s", answer.status_code, elapsed_ms, _show(answer.content, settings))
    return Response(answer.status_code, answer.headers, answer.content)


def _show(body: bytes, settings: Settings) -> str:
    # Masked before it is cut, so that no part of a secret is left at the end.
    text = _SECRET.sub(r"\1***", body.decode(errors="replace"))
    if settings.api_key:
        text = text.replace(settings.api_key, "***")
    return text[:_SHOWN_BYTES]
