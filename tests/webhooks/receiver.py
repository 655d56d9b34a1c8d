"""Somebody's server that webhooks go to: a real one, on this machine."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from aiohttp import web
from standardwebhooks import Webhook


class Received(NamedTuple):
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def message(self) -> Any:
        return json.loads(self.body)

    def verify(self, secret: str) -> Any:
        """As a customer would; raises where no signature is good."""
        return Webhook(secret).verify(self.body, self.headers)


Answer = Callable[[Received], Awaitable[web.StreamResponse]]


async def take(_: Received) -> web.Response:
    return web.Response(status=204)


class Receiver:
    """Keeps what comes, and answers as it is told."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Answer = take
        self.url = ""
        self._came = asyncio.Event()

    async def open(self, stack: AsyncExitStack, host: str = "127.0.0.1", port: int = 0) -> "Receiver":
        runner = web.ServerRunner(web.Server(self._serve), shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, host, port)
        await site.start()
        self.port = runner.addresses[0][1]
        self.url = f"http://{host}:{self.port}/hook"
        return self

    async def wait_for(self, count: int) -> list[Received]:
        async with asyncio.timeout(20):
            while len(self.received) < count:
                self._came.clear()
                await self._came.wait()
        return self.received

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(request.path_qs, headers, await request.read())
        self.received.append(received)
        self._came.set()
        return await self.answer(received)


def answer_with(status: int, body: str = "", **headers: str) -> Answer:
    async def answer(_: Received) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=body, headers=named)

    return answer
