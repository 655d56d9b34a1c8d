"""The service that waits."""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Self, TypeVar

from llmring.api.calls import Known, accounts, importing, receipts, registry, usage
from llmring.api.exchange import Flow
from llmring.api.queue import QueueState
from llmring.api.service.held import Held

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(call: Callable[Concatenate[Known, P], Flow[T]]) -> Callable[Concatenate[Held, P], T]:
    @functools.wraps(call)
    def run(self: Held, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._blocking.run(call(self._known, *args, **kwargs))

    return run


class SyncAPIService(Held):
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
