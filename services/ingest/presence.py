"""Whether Postgres answers: so that nobody waits long for one that is away, frozen or behind a dead network.

A refused connection tells by itself. One that hangs does not: the driver would wait for its long time-outs.
So whoever has waited for a while has Postgres asked for a sign of life, on a connection apart from the
pool's, which may all be hanging. A slow answer of a Postgres that lives is waited for, but not for ever: a
connection may lead nowhere while new ones do, after a failover. It is dropped then.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final, TypeVar

from shared.errors import UnavailableError
from shared.postgres import Database, open_connection

T = TypeVar("T")
Question = Callable[[], Coroutine[Any, Any, T]]

_PATIENCE_S: Final = 1.0
_AT_MOST_S: Final = 10.0
_LOOK_S: Final = 0.25
_SIGN_OF_LIFE_S: Final = 0.5
_GIVE_UP_S: Final = 2.5
_PAUSE_S: Final = 0.5

_log = logging.getLogger(__name__)


class Presence:
    """Asks Postgres, and knows when not to."""

    def __init__(self, database: Database) -> None:
        self._url = database.url
        self._watch: asyncio.Task[None] | None = None
        self._abandoned: set[asyncio.Task[Any]] = set()
        self._is_away = False

    @property
    def is_away(self) -> bool:
        """Whether it gave no sign of life when it was last asked for one; it is asked until it does."""
        return self._is_away

    def doubt(self) -> None:
        """Have it asked for a sign of life, in the background."""
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look(), name="postgres-presence")

    async def ask(self, question: Question[T]) -> T:
        """The answer to a question, which may take its time as long as Postgres lives.

        Raises:
            UnavailableError: Postgres is away, or has stopped answering, or takes longer than anybody waits.
        """
        if self._is_away:
            raise _away()
        task = asyncio.create_task(question())
        patience_s = _PATIENCE_S
        deadline = time.monotonic() + _AT_MOST_S
        try:
            while not task.done():
                await asyncio.wait([task], timeout=patience_s)
                if not task.done():
                    if self._is_away or time.monotonic() > deadline:
                        raise _away()
                    self.doubt()
                    patience_s = _LOOK_S
        finally:
            self._abandon(task)
        return self._answer(task)

    async def ask_within(self, question: Question[T], at_most: timedelta) -> T:
        """The answer to a question that has to be quick. The question may have its effect even later.

        Raises:
            UnavailableError: Postgres is away, or did not answer in time.
        """
        if self._is_away:
            raise _away()
        task = asyncio.create_task(question())
        try:
            await asyncio.wait([task], timeout=at_most.total_seconds())
            if not task.done():
                self.doubt()
                raise _away()
        finally:
            self._abandon(task)
        return self._answer(task)

    def _answer(self, task: asyncio.Task[T]) -> T:
        try:
            return task.result()
        except UnavailableError:
            self.doubt()
            raise

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        """Let a task end by itself: what hangs cannot even be cancelled at once."""
        if not task.done():
            task.cancel()
            self._abandoned.add(task)
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # nobody is interested in it any more

    async def _look(self) -> None:
        while not await self._gives_sign_of_life():
            if not self._is_away:
                _log.warning("Postgres does not answer")
            self._is_away = True
            await asyncio.sleep(_PAUSE_S)
        if self._is_away:
            _log.info("Postgres answers again")
        self._is_away = False

    async def _gives_sign_of_life(self) -> bool:
        probe = asyncio.create_task(self._probe())
        try:
            await asyncio.wait([probe], timeout=_SIGN_OF_LIFE_S)
            if not probe.done():
                self._is_away = True
                await asyncio.wait([probe], timeout=_GIVE_UP_S)
            return probe.done() and not probe.cancelled() and probe.exception() is None
        finally:
            self._abandon(probe)

    async def _probe(self) -> None:
        connection = await open_connection(self._url, application_name="llmring-presence")
        try:
            await connection.execute("SELECT 1")
        finally:
            connection.terminate()


def _away() -> UnavailableError:
    return UnavailableError("The database is not available at the moment.")
