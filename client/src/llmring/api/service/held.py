"""What a service holds: settings, connections, the cache, and the queue of usage."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, Unpack

from llmring.api.calls import Known
from llmring.api.documents import Documents
from llmring.api.models.usage import UsageFields
from llmring.api.queue import QueueState, UsageQueue
from llmring.api.queue.store import RefusedRow
from llmring.api.settings import Settings, default_cache_dir, default_queue_path, read_key, read_url
from llmring.api.transport import AsyncTransport, SyncTransport

T = TypeVar("T")


class Held:
    """What a program holds, whichever way it calls.

    Args:
        base_url: where the server is; else `LLMRING_API_URL`, else https://api.llmring.ai.
        api_key: else `LLMRING_API_KEY`. Public calls need none.
        debug: log every request and answer at the level DEBUG, without keys and secrets.
        timeout_s: for one request.
        max_connections: to the server at once.
        cache_dir: of the registry and the public keys; None for memory alone.
        registry_ttl_s: for how long the current registry is taken without asking.
        registry_version: the version that is meant where a call names none.
        queue_path: of the usage that is not sent yet; None for memory alone. By default one file for each
            server and key. Name one yourself to keep it over a change of the key.
        batch_size: so many queued records are sent at once, as soon as they are there.
        flush_interval_s: for so long a queued record waits for others.
        max_queued: above so many unsent records, the newest are dropped and counted.

    Raises:
        APIConfigurationError: the address or the key cannot be one.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        debug: bool = False,
        timeout_s: float = 30.0,
        max_connections: int = 20,
        cache_dir: Path | str | None = "",
        registry_ttl_s: float = 3600.0,
        registry_version: str | None = None,
        queue_path: Path | str | None = "",
        batch_size: int = 200,
        flush_interval_s: float = 5.0,
        max_queued: int = 100_000,
    ) -> None:
        url, key = read_url(base_url), read_key(api_key)
        # An empty path is the default: None means that there is to be no file.
        self._settings = Settings(
            base_url=url,
            api_key=key,
            debug=debug,
            timeout_s=timeout_s,
            max_connections=max_connections,
            cache_dir=default_cache_dir(url) if cache_dir == "" else (cache_dir and Path(cache_dir)) or None,
            registry_ttl_s=registry_ttl_s,
            registry_version=registry_version,
            queue_path=default_queue_path(url, key)
            if queue_path == ""
            else (queue_path and Path(queue_path)) or None,
        )
        self._known = Known(self._settings, Documents(self._settings.cache_dir))
        self._blocking = SyncTransport(self._settings)
        self._awaited = AsyncTransport(self._settings)
        self._queue = UsageQueue(
            SyncTransport(self._settings),
            self._settings.queue_path,
            batch_size=batch_size,
            interval_s=flush_interval_s,
            max_records=max_queued,
        )

    @property
    def base_url(self) -> str:
        """Where the server is."""
        return self._settings.base_url

    @property
    def queue(self) -> UsageQueue:
        """The usage that is sent in the background."""
        return self._queue

    def queue_usage(self, **fields: Unpack[UsageFields]) -> str:
        """Report one call to an LLM in the background. Takes microseconds, and never raises.

        Its time is the time of this call, unless it has a `timestamp`. Returns its idempotency key.
        """
        return self._queue.put(fields)

    def persist(self, timeout_s: float = 5.0) -> bool:
        """Wait until what was queued is on disk, safe from the end of this program; whether it is."""
        return self._queue.persist(timeout_s)

    def queue_state(self) -> QueueState:
        """How the queue stands: pending, sent, refused, dropped, and why nothing is sent, if nothing is."""
        return self._queue.state()

    def list_refused(self) -> list[RefusedRow]:
        """Queued records that the server refused for good, each with the reason."""
        return self._queue.list_refused()

    def attach(self, ring: T, *, send_cost: bool = False) -> T:
        """Have an `LLMRing` of the published `llmring` package send its usage through this service's queue.

        So do the decorators of that package that name this service's address.

        Args:
            ring: the object.
            send_cost: send the cost that the ring calculated. By default the server calculates it, exactly
                and from the registry version of that moment.

        Raises:
            ImportError: there is no `llmring` package.
        """
        from llmring.api.attach import attach_ring

        attach_ring(ring, self._queue, self._settings, send_cost=send_cost)
        return ring

    def _close(self, timeout_s: float) -> QueueState:
        state = self._queue.close(timeout_s)
        self._blocking.close()
        return state

    async def _close_async(self, timeout_s: float) -> QueueState:
        state = await in_thread(self._queue.close, timeout_s)
        await self._awaited.close()
        self._blocking.close()
        return state

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"


async def in_thread(wait: Callable[[float], T], timeout_s: float) -> T:
    """Wait for something that blocks, without blocking the loop."""
    return await asyncio.to_thread(wait, timeout_s)
