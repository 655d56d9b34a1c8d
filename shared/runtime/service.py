"""What a service is to the process that runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # not every command that names a worker serves HTTP
    from litestar.types import ASGIApp

Step = Callable[[], Awaitable[None]]
Ping = Callable[[], Awaitable[None]]


class Worker(NamedTuple):
    """A loop beside the HTTP application, such as a consumer.

    `run` returns when the event is set and the work in hand is done.
    """

    name: str
    run: Callable[[asyncio.Event], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service, put together and not yet started.

    Attributes:
        name: one word, the same for folder, settings and metrics.
        app: answers HTTP; None for a process that only consumes.
        workers: loops to run while it lives.
        pings: dependencies by name; a ping raises when the dependency is away.
        dispensable: those of them without which the service does its main work all the same: it stays ready.
        on_start: steps before the first request, in order.
        on_stop: steps after the last request and the last worker, in order.
    """

    name: str
    app: ASGIApp | None = None
    workers: Sequence[Worker] = ()
    pings: Mapping[str, Ping] = field(default_factory=dict)
    dispensable: frozenset[str] = frozenset()
    on_start: Sequence[Step] = ()
    on_stop: Sequence[Step] = ()
