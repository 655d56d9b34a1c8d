"""The services that a program holds: one that waits for each answer, one to be awaited, and one that does
either.

Their calls are those of `llmring.api.calls`, and have the same names and arguments everywhere.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from llmring.api.calls import Known, accounts, importing, receipts, registry, usage
from llmring.api.documents import Documents
from llmring.api.exchange import Flow
from llmring.api.models.usage import UsageFields
from llmring.api.queue import QueueState, UsageQueue
from llmring.api.queue.store import RefusedRow
from llmring.api.settings import (
    Settings,
    default_cache_dir,
    default_queue_path,
    read_key,
    read_url,
)
from llmring.api.transport import AsyncTransport, SyncTransport

P = ParamSpec("P")
T = TypeVar("T")
Call = Callable[Concatenate[Known, P], Flow[T]]


class _Service:
    """What the services have in common.

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
        self._sync = SyncTransport(self._settings)
        self._async = AsyncTransport(self._settings)
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
        self._sync.close()
        return state

    async def _close_async(self, timeout_s: float) -> QueueState:
        state = await in_thread(self._queue.close, timeout_s)
        await self._async.close()
        self._sync.close()
        return state

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"


def _blocking(call: Callable[Concatenate[Known, P], Flow[T]]) -> Callable[Concatenate["_Service", P], T]:
    @functools.wraps(call)
    def run(self: _Service, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._sync.run(call(self._known, *args, **kwargs))

    return run


def _awaited(
    call: Callable[Concatenate[Known, P], Flow[T]],
) -> Callable[Concatenate["_Service", P], Awaitable[T]]:
    @functools.wraps(call)
    async def run(self: _Service, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._async.run(call(self._known, *args, **kwargs))

    return run


def _either(call: Callable[Concatenate[Known, P], Flow[T]]) -> Callable[Concatenate["_Service", P], Any]:
    @functools.wraps(call)
    def run(self: _Service, /, *args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - T, or an awaitable of it
        flow = call(self._known, *args, **kwargs)
        return self._async.run(flow) if is_looping() else self._sync.run(flow)

    return run


def is_looping() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class SyncAPIService(_Service):
    """Each call waits for its answer. For programs without an event loop, and for threads."""

    get_registry = _blocking(registry.get_registry)
    list_models = _blocking(registry.list_models)
    get_model = _blocking(registry.get_model)
    log_usage = _blocking(usage.log_usage)
    get_usage_stats = _blocking(usage.get_usage_stats)
    export_usage_logs = _blocking(usage.export_usage_logs)
    import_usage_logs = _blocking(importing.import_usage_logs)
    create_receipt = _blocking(receipts.create_receipt)
    create_receipt_for = _blocking(receipts.create_receipt_for)
    create_statement = _blocking(receipts.create_statement)
    get_receipt = _blocking(receipts.get_receipt)
    get_receipt_proof = _blocking(receipts.get_receipt_proof)
    get_receipt_bundle = _blocking(receipts.get_receipt_bundle)
    get_public_keys = _blocking(receipts.get_public_keys)
    verify_receipt = _blocking(receipts.verify_receipt)
    register_webhook = _blocking(accounts.register_webhook)
    list_webhooks = _blocking(accounts.list_webhooks)
    delete_webhook = _blocking(accounts.delete_webhook)
    get_budgets = _blocking(accounts.get_budgets)
    set_budgets = _blocking(accounts.set_budgets)
    reserve_budget = _blocking(accounts.reserve_budget)
    settle_budget = _blocking(accounts.settle_budget)

    def flush(self, timeout_s: float = 30.0) -> QueueState:
        """Send what was queued, wait until the server has it, and say how the queue stands."""
        return self._queue.flush(timeout_s)

    def close(self, timeout_s: float = 5.0) -> QueueState:
        """Send what can be sent within the time, and stop.

        What is left stays on disk for the next program.
        """
        return self._close(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncAPIService(_Service):
    """Each call is awaited."""

    get_registry = _awaited(registry.get_registry)
    list_models = _awaited(registry.list_models)
    get_model = _awaited(registry.get_model)
    log_usage = _awaited(usage.log_usage)
    get_usage_stats = _awaited(usage.get_usage_stats)
    export_usage_logs = _awaited(usage.export_usage_logs)
    import_usage_logs = _awaited(importing.import_usage_logs)
    create_receipt = _awaited(receipts.create_receipt)
    create_receipt_for = _awaited(receipts.create_receipt_for)
    create_statement = _awaited(receipts.create_statement)
    get_receipt = _awaited(receipts.get_receipt)
    get_receipt_proof = _awaited(receipts.get_receipt_proof)
    get_receipt_bundle = _awaited(receipts.get_receipt_bundle)
    get_public_keys = _awaited(receipts.get_public_keys)
    verify_receipt = _awaited(receipts.verify_receipt)
    register_webhook = _awaited(accounts.register_webhook)
    list_webhooks = _awaited(accounts.list_webhooks)
    delete_webhook = _awaited(accounts.delete_webhook)
    get_budgets = _awaited(accounts.get_budgets)
    set_budgets = _awaited(accounts.set_budgets)
    reserve_budget = _awaited(accounts.reserve_budget)
    settle_budget = _awaited(accounts.settle_budget)

    async def flush(self, timeout_s: float = 30.0) -> QueueState:
        """Send what was queued, wait until the server has it, and say how the queue stands."""
        return await in_thread(self._queue.flush, timeout_s)

    async def close(self, timeout_s: float = 5.0) -> QueueState:
        """Send what can be sent within the time, and stop.

        What is left stays on disk for the next program.
        """
        return await self._close_async(timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class APIService(_Service):
    """Each call is awaited where an event loop runs in this thread, and waits for its answer where none does.

    So the same object serves `stats = api.get_usage_stats()` in a script and `await api.get_usage_stats()` in
    a coroutine. In a coroutine a call that is not awaited does nothing. Type checkers see `Any`: use
    `SyncAPIService` or `AsyncAPIService` where they matter. `queue_usage` never has to be awaited.
    """

    get_registry = _either(registry.get_registry)
    list_models = _either(registry.list_models)
    get_model = _either(registry.get_model)
    log_usage = _either(usage.log_usage)
    get_usage_stats = _either(usage.get_usage_stats)
    export_usage_logs = _either(usage.export_usage_logs)
    import_usage_logs = _either(importing.import_usage_logs)
    create_receipt = _either(receipts.create_receipt)
    create_receipt_for = _either(receipts.create_receipt_for)
    create_statement = _either(receipts.create_statement)
    get_receipt = _either(receipts.get_receipt)
    get_receipt_proof = _either(receipts.get_receipt_proof)
    get_receipt_bundle = _either(receipts.get_receipt_bundle)
    get_public_keys = _either(receipts.get_public_keys)
    verify_receipt = _either(receipts.verify_receipt)
    register_webhook = _either(accounts.register_webhook)
    list_webhooks = _either(accounts.list_webhooks)
    delete_webhook = _either(accounts.delete_webhook)
    get_budgets = _either(accounts.get_budgets)
    set_budgets = _either(accounts.set_budgets)
    reserve_budget = _either(accounts.reserve_budget)
    settle_budget = _either(accounts.settle_budget)

    def run(self, call: Callable[Concatenate[Known, P], Flow[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Carry a call of `llmring.api.calls` out and wait for it, also where an event loop runs."""
        return self._sync.run(call(self._known, *args, **kwargs))

    def flush(self, timeout_s: float = 30.0) -> Any:  # noqa: ANN401 - a QueueState, or an awaitable of it
        """Send what was queued, wait until the server has it, and say how the queue stands."""
        if is_looping():
            return in_thread(self._queue.flush, timeout_s)
        return self._queue.flush(timeout_s)

    def close(self, timeout_s: float = 5.0) -> Any:  # noqa: ANN401 - likewise
        """Send what can be sent within the time, and stop. The rest stays on disk for the next program."""
        return self._close_async(timeout_s) if is_looping() else self._close(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close(5.0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close_async(5.0)


async def in_thread(wait: Callable[[float], T], timeout_s: float) -> T:
    """Wait for something that blocks, without blocking the loop."""
    return await asyncio.to_thread(wait, timeout_s)
