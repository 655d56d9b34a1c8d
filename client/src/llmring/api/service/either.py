"""The service that waits, or is awaited."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from llmring.api.calls import Known, accounts, importing, receipts, registry, usage
from llmring.api.exchange import Flow
from llmring.api.service.held import Held, in_thread

P = ParamSpec("P")
T = TypeVar("T")


def _either(call: Callable[Concatenate[Known, P], Flow[T]]) -> Callable[Concatenate[Held, P], Any]:
    @functools.wraps(call)
    def run(self: Held, /, *args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - T, or an awaitable of it
        flow = call(self._known, *args, **kwargs)
        return self._awaited.run(flow) if is_looping() else self._blocking.run(flow)

    return run


def is_looping() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class APIService(Held):
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
        return self._blocking.run(call(self._known, *args, **kwargs))

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
