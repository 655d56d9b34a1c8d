"""Run services in this process until a signal: start, serve, drain, stop.

SIGTERM and SIGINT drain: no new connection is taken, requests in flight and batches in hand finish, then
the process ends with status 0. A second signal ends it at once.
"""

import asyncio
import functools
import gc
import logging
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeVar

from shared.runtime.front import Front
from shared.runtime.listen import DRAIN_S, Listener
from shared.runtime.service import Service, Worker
from shared.runtime.waiting import wait_for
from shared.stopping import is_set_within

_log = logging.getLogger(__name__)

T = TypeVar("T")


async def run_services(
    services: Sequence[Service],
    *,
    listening: AbstractAsyncContextManager[Listener],
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Run services that share this process until SIGTERM or SIGINT, then drain them.

    Args:
        services: started in this order, stopped in the reverse one.
        listening: from `listen`; entered when the services have started.
        on_ready: called once when requests are answered.
    """
    stop = _stop_on_signal()
    async with _started(services), _working(services), listening as listener:
        on_ready()
        await listener.wait(stop)


async def run_process(
    front: Front,
    prepare: Callable[[AsyncExitStack], Awaitable[Service]],
    listening: AbstractAsyncContextManager[Listener],
) -> None:
    """Run one service as a process of its own until SIGTERM or SIGINT, then drain it.

    It listens from the first moment, so that whoever starts it can see that it lives and what it waits for;
    `front` tells that it is not ready before `prepare` and the service's own start are done.

    Args:
        front: answers where `listening` listens.
        prepare: builds the service; what must be closed at the end goes onto the stack. It may wait for
            dependencies for as long as they are away; a signal ends that.
        listening: from `listen`; entered at once.
    """
    stop = _stop_on_signal()
    async with AsyncExitStack() as resources, listening as listener:
        service = await _unless(stop, prepare(resources))
        if service is None:
            return
        async with _started([service], stop) as complete:
            if complete:
                await _work([service], front, listener, stop)


async def _work(services: Sequence[Service], front: Front, listener: Listener, stop: asyncio.Event) -> None:
    async with _working(services):
        (service,) = services
        front.open(service)
        _log.info("%s is ready", service.name)
        await listener.wait(stop)
        front.close()
        await listener.drain()


@asynccontextmanager
async def _started(services: Sequence[Service], stop: asyncio.Event | None = None) -> AsyncIterator[bool]:
    """Take the steps of the start, and at the end those of the stop; False when a signal came first."""
    async with AsyncExitStack() as stack:
        for service in services:
            for step in service.on_stop:
                stack.push_async_callback(step)
        complete = True
        for service in services:
            for step in service.on_start:
                if stop is None:
                    await step()
                elif complete:
                    attempt = functools.partial(_done, step)
                    complete = await _unless(stop, wait_for("what the start needs", attempt)) is not None
        spare_the_collector()
        yield complete


async def _done(step: Callable[[], Awaitable[None]]) -> bool:
    await step()
    return True


async def _unless(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """The outcome of some work, or None when a signal came first; the work is cancelled then."""
    task = asyncio.ensure_future(work)
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        for each in (task, waiting):
            each.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)


@asynccontextmanager
async def _working(services: Sequence[Service]) -> AsyncIterator[None]:
    """Run the workers of services; at the end let them finish what they have in hand."""
    stop = asyncio.Event()
    workers = [
        asyncio.create_task(_supervise(worker, stop), name=worker.name)
        for service in services
        for worker in service.workers
    ]
    try:
        yield
    finally:
        stop.set()
        await _finish(workers)


def spare_the_collector() -> None:
    """Let the cyclic garbage collector look less often, and never again at what was made at the start.

    Nearly everything that a request makes is freed by reference counts; with Python's defaults the collector
    runs every few requests, and now and then walks all modules.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


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
            await is_set_within(stop, delay_s)
        else:
            return


async def _finish(workers: Sequence["asyncio.Task[None]"]) -> None:
    if not workers:
        return
    _, pending = await asyncio.wait(workers, timeout=DRAIN_S)
    for task in pending:
        _log.warning("worker %s did not finish in %d s", task.get_name(), DRAIN_S)
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
