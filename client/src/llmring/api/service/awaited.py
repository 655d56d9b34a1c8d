"""The service that is awaited."""

import functools
from collections.abc import Awaitable, Callable
from typing import Concatenate, ParamSpec, Self, TypeVar

from llmring.api.calls import Known, accounts, importing, receipts, registry, usage
from llmring.api.exchange import Flow
from llmring.api.queue import QueueState
from llmring.api.service.held import Held, in_thread

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    call: Callable[Concatenate[Known, P], Flow[T]],
) -> Callable[Concatenate[Held, P], Awaitable[T]]:
    @functools.wraps(call)
    async def run(self: Held, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._awaited.run(call(self._known, *args, **kwargs))

    return run


class AsyncAPIService(Held):
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
