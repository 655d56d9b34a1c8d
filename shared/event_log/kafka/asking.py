"""Single questions to Kafka, asked of a client that is replaced once it has not answered.

The library renews a connection whose request was over time by the library's own clock. A caller who gives up
earlier takes that away, and so does the library itself where it limits the whole question. Then a connection
that the network has forgotten would be asked for ever.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from aiokafka.errors import KafkaTimeoutError, RequestTimedOutError

from shared.errors import UnavailableError
from shared.event_log.kafka.clients import translated

T = TypeVar("T")

_WITHIN_S: Final = 5.0
_SOON_S: Final = 0.5
_NOT_ANSWERED: Final = (asyncio.CancelledError, KafkaTimeoutError, RequestTimedOutError)


class Asker:
    """Holds one client of the library.

    Args:
        open_client: opens one; what it has opened it closes again when it is cancelled.
        close_client: does not fail.
    """

    def __init__(
        self,
        open_client: Callable[[], Awaitable[Any]],
        close_client: Callable[[Any], Coroutine[Any, Any, None]],
    ) -> None:
        self._open = open_client
        self._close = close_client
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def ask(self, question: Callable[[Any], Awaitable[T]], within_s: float = _WITHIN_S) -> T:
        """The answer to a question, which may be asked of a client that was opened for it.

        Raises:
            UnavailableError: there was no answer in time.
        """
        with translated():
            async with asyncio.timeout(within_s):
                client = await self._get_client()
                asked_at = time.monotonic()
                try:
                    return await question(client)
                except _NOT_ANSWERED as error:
                    # A caller who left at once tells nothing of the connection, which others ask as well.
                    if not isinstance(error, asyncio.CancelledError) or time.monotonic() > asked_at + _SOON_S:
                        self._replace(client)
                    raise

    async def close(self) -> None:
        """Close the client, and wait for those that were replaced. Who asks from now on is refused."""
        self._closed = True
        async with self._opening:
            if self._client is not None:
                self._replace(self._client)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _get_client(self) -> Any:  # noqa: ANN401 - one of the library's, which carry no annotations
        async with self._opening:
            if self._closed:
                raise UnavailableError("The event log is closed.")
            if self._client is None:
                self._client = await self._open()
            return self._client

    def _replace(self, client: Any) -> None:  # noqa: ANN401 - likewise
        if client is self._client:
            self._client = None
            task = asyncio.create_task(self._close(client))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
