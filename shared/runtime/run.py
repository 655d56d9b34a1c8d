"""Run services in this process until a signal: start, serve, drain, stop.

SIGTERM and SIGINT drain: no new connection is taken, requests in flight and batches in hand finish, then
the process ends with status 0. A second signal ends it at once.
"""

import asyncio
import contextlib
import gc
import logging
import random
import signal
import socket
from collections.abc import Callable, Iterator, Sequence

import uvicorn
from litestar.types import ASGIApp

from shared.runtime.bounded_http import BoundedHttpProtocol
from shared.runtime.service import Service, Worker

DRAIN_S = 15
BACKLOG = 2048

_log = logging.getLogger(__name__)


class ListenError(Exception):
    """The address cannot be listened on; the text says why."""


class _Server(uvicorn.Server):
    """uvicorn, with signals left to `run_services`: its own handling would end the process by the signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run_services(
    services: Sequence[Service],
    *,
    app: ASGIApp | None,
    host: str,
    port: int,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Run services until SIGTERM or SIGINT, then drain them.

    Args:
        services: started in this order, stopped in the reverse one.
        app: what answers on `host:port`; None serves nothing and only runs workers.
        host: address to listen on.
        port: port to listen on.
        on_ready: called once when requests are answered.
    """
    stop = _stop_on_signal()
    async with contextlib.AsyncExitStack() as stack:
        for service in services:
            for step in service.on_stop:
                stack.push_async_callback(step)
        for service in services:
            for step in service.on_start:
                await step()
        spare_the_collector()
        workers_stop = asyncio.Event()
        workers = [
            asyncio.create_task(_supervise(worker, workers_stop), name=worker.name)
            for service in services
            for worker in service.workers
        ]
        try:
            if app is None:
                on_ready()
                await stop.wait()
            else:
                await _serve(app, host, port, stop, on_ready)
        finally:
            workers_stop.set()
            await _finish(workers)


def spare_the_collector() -> None:
    """Let the cyclic garbage collector look less often, and never again at what was made at the start.

    Nearly everything that a request makes is freed by reference counts; with Python's defaults the collector
    runs every few requests, and now and then walks all modules.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _serve(
    app: ASGIApp, host: str, port: int, stop: asyncio.Event, on_ready: Callable[[], None]
) -> None:
    config = uvicorn.Config(
        app,
        loop="none",
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[open_socket(host, port)]))
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn offers no event to wait for
        await asyncio.sleep(0.01)
    if serving.done():
        await serving
        return
    on_ready()
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    waiting.cancel()
    await serving


def open_socket(host: str, port: int) -> socket.socket:
    """Listen on an address.

    Raises:
        ListenError: it is taken, or none of this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(f"Cannot listen on {host}:{port}: {error.strerror}.") from error


def _stop_on_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            loop.remove_signal_handler(number)
            signal.raise_signal(number)
        _log.info("%s: draining", number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


async def _supervise(worker: Worker, stop: asyncio.Event) -> None:
    """Keep a worker running: one that breaks is reported and started again, later each time."""
    failures = 0
    while not stop.is_set():
        try:
            await worker.run(stop)
        except Exception:
            failures += 1
            delay_s = min(30.0, 0.2 * 2**failures) * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
            _log.exception("worker %s broke; again in %.1f s", worker.name, delay_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), delay_s)
        else:
            return


async def _finish(workers: Sequence[asyncio.Task[None]]) -> None:
    if not workers:
        return
    _, pending = await asyncio.wait(workers, timeout=DRAIN_S)
    for task in pending:
        _log.warning("worker %s did not finish in %d s", task.get_name(), DRAIN_S)
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
