"""Waking readers: at once within the process, by NOTIFY across processes.

A NOTIFY inside the append would make every commit take a lock that all notifying sessions share, up to and
including the fsync. So it is sent afterwards, on the connection that listens, at most once in a while however
many commits there were. It is a hint only: readers also look by themselves now and then.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from shared.errors import UnavailableError
from shared.postgres import OwnedConnection, open_connection, translated

logger = logging.getLogger(__name__)

CHANNEL: Final = "llmring_event_log"
NOTIFY: Final = "SELECT pg_notify($1, name) FROM unnest($2::text[]) AS name"

_NOTIFY_GAP_SECONDS: Final = 0.005
_RETRY_SECONDS: Final = 0.5


class Wakeups:
    """Named bells: what rings one in any process is heard in all of them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._bells: dict[str, set[asyncio.Event]] = {}
        self._unsent: set[str] = set()
        self._pending = asyncio.Event()
        self._own_pid: int | None = None
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def watch(self, *names: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever one of the names is rung; whoever waits on it clears it."""
        self._start()
        bell = asyncio.Event()
        for name in names:
            self._bells.setdefault(name, set()).add(bell)
        try:
            yield bell
        finally:
            for name in names:
                self._bells[name].discard(bell)

    def ring(self, names: set[str]) -> None:
        """Wake whoever watches one of the names, here and elsewhere."""
        for name in names:
            self._ring_here(name)
        self._unsent |= names
        self._pending.set()
        self._start()

    async def close(self) -> None:
        """Send what is unsent (a second at most), then stop listening."""
        self._closing = True
        self._pending.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=1)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _start(self) -> None:
        if self._task is None and not self._closing:
            self._task = asyncio.create_task(self._run(), name="event-log-wakeups")

    def _ring_here(self, name: str) -> None:
        for bell in self._bells.get(name, ()):
            bell.set()

    async def _run(self) -> None:
        while not self._closing:
            connection: OwnedConnection | None = None
            try:
                connection = await open_connection(self._url, application_name="llmring-event-log-wakeups")
                await self._relay(connection)
            except UnavailableError as error:
                logger.info("no wake-ups from other processes for now: %s", error.__cause__ or error)
            except Exception:
                # Without this task readers would have to poll for the rest of the process's life.
                logger.exception("no wake-ups from other processes for now")
            finally:
                self._own_pid = None
                if connection is not None:
                    connection.terminate()
            if not self._closing:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _relay(self, connection: OwnedConnection) -> None:
        """Listen, and pass on what is rung here, until the connection is lost."""
        lost = asyncio.Event()

        def on_loss(_connection: object) -> None:
            lost.set()
            self._pending.set()

        def on_notify(_connection: object, pid: int, _channel: str, name: str) -> None:
            if pid != self._own_pid:
                self._ring_here(name)

        connection.add_termination_listener(on_loss)
        with translated():
            self._own_pid = connection.get_server_pid()
            await connection.add_listener(CHANNEL, on_notify)
            for name in list(self._bells):  # something may have happened while nobody listened
                self._ring_here(name)
            while not lost.is_set():
                await self._pending.wait()
                self._pending.clear()
                if self._unsent:
                    names, self._unsent = self._unsent, set()  # lost with the connection: readers poll
                    await connection.execute(NOTIFY, CHANNEL, list(names))
                if self._closing:
                    return
                await asyncio.sleep(_NOTIFY_GAP_SECONDS)
