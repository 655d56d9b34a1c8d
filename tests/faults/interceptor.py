"""Stands between a process and its drivers: counts the calls, and lets one of them go wrong."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar

from tests.faults.calls import Call, Fault, Kind, Made, Moment, Report

T = TypeVar("T")
Say = Callable[[Report], None]

DEATH_STATUS = 9


class Failing:
    """How a call of one driver goes wrong.

    Attributes:
        break_up: breaks the connection that the call uses, as far as there is one.
        error: makes what the driver raises over a broken connection.
        timeout: makes what the driver raises when an answer does not come.
        patience_s: how long the driver waits for it here. Its own time is longer, and would add nothing but
            waiting; where the caller gives up earlier, that comes first.
    """

    def __init__(
        self,
        *,
        error: Callable[[], BaseException],
        timeout: Callable[[], BaseException] = TimeoutError,
        patience_s: float,
        break_up: Callable[[], None] = lambda: None,
    ) -> None:
        self.error = error
        self.timeout = timeout
        self.patience_s = patience_s
        self.break_up = break_up


class Interceptor:
    """All calls of one process pass through here."""

    def __init__(self, fault: Fault | None, say: Say, *, counted: bool) -> None:
        self._fault = fault
        self._say = say
        self._counted = counted
        self._made: Counter[tuple[str, str]] = Counter()
        self._within: ContextVar[frozenset[str]] = ContextVar("within", default=frozenset())

    async def around(
        self, server: str, name: str, perform: Callable[[], Awaitable[T]], failing: Failing
    ) -> T:
        """Make a call, unless it is the one that goes wrong. What it calls by itself is part of it."""
        within = self._within.get()
        if server in within:
            return await perform()
        moment = self._count(server, name)
        token = self._within.set(within | {server})
        try:
            if moment is Moment.BEFORE:
                await self._strike(failing)
            result = await perform()
            if moment is Moment.AFTER:
                await self._strike(failing)
            return result
        finally:
            self._within.reset(token)

    def is_within(self, server: str) -> bool:
        """Whether a call to this server is being made already, by whoever asks."""
        return server in self._within.get()

    def _count(self, server: str, name: str) -> Moment | None:
        """Count a call; when it goes wrong, if it is to."""
        self._made[server, name] += 1
        call = Call(server, name, self._made[server, name])
        if self._counted:
            self._say(Report(made=Made(call, time.monotonic())))
        if self._fault is None or self._fault.call != call:
            return None
        return self._fault.moment

    async def _strike(self, failing: Failing) -> NoReturn:
        assert self._fault is not None
        kind = self._fault.kind
        self._say(Report(fired=True))
        if kind is Kind.DEATH:
            self._say(Report(ended=DEATH_STATUS))
            os._exit(DEATH_STATUS)
        if kind is Kind.TIMEOUT:
            await asyncio.sleep(failing.patience_s)
            raise failing.timeout()
        failing.break_up()
        await asyncio.sleep(0)  # no failure is known in the very turn of the loop in which it happens
        raise failing.error()


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put something else in the place of a driver's function."""
    setattr(owner, name, make(getattr(owner, name)))
