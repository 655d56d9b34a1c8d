"""Sends what the published `llmring` package logs through the queue. Imported only where that package is."""

import logging
import threading
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from llmring.logging import decorators
from llmring.server_client import ServerClient
from llmring.services.logging_service import LoggingService

from llmring.api.models.usage import USAGE_FIELDS
from llmring.api.queue import UsageQueue
from llmring.api.settings import Settings

log = logging.getLogger("llmring.api")

call_started_at: ContextVar[float | None] = ContextVar("call_started_at", default=None)
"""When the running call began, by `time.monotonic`; None where that is not known."""


class QueueingLog(LoggingService):  # type: ignore[misc]  # the package has no types
    """Stands in for the package's own logging service: the same records, and neither a wait nor an error."""

    def __init__(self, queue: UsageQueue, origin: str, *, send_cost: bool) -> None:
        super().__init__(server_client=None, log_metadata=True, log_conversations=False, origin=origin)
        self._queue = queue
        self._send_cost = send_cost

    async def log_request_response(  # noqa: PLR0917 - as the package has it
        self,
        request: Any,  # noqa: ANN401 - of the package
        response: Any,  # noqa: ANN401
        alias: str,
        provider: str,
        model: str,
        cost_info: Mapping[str, float] | None,
        profile: str | None,
    ) -> None:
        """Queue the usage of one call. The caller's own metadata goes with it."""
        try:
            if response.usage:
                fields: dict[str, Any] = {**usage_fields(response.usage)}
                fields |= {"model": model, "provider": provider, "origin": self.origin, "profile": profile}
                fields["alias"] = alias if alias and ":" not in alias else None
                fields["id_at_origin"] = self._conversation_id
                own = {"model_alias": f"{provider}:{model}", "finish_reason": response.finish_reason}
                fields["metadata"] = own | dict(getattr(request, "metadata", None) or {})
                if self._send_cost and cost_info and "total_cost" in cost_info:
                    fields["cost"] = cost_info["total_cost"]
                started = call_started_at.get()
                if started is not None:
                    fields["latency_ms"] = round((time.monotonic() - started) * 1000)
                self._queue.put(fields)
        except Exception:
            log.exception("the usage of a call could not be queued")


def usage_fields(usage: Mapping[str, Any]) -> dict[str, int]:
    """The token counts of a provider's usage, as the package has it, in the fields of a record.

    OpenAI counts what it read from its cache as input (`cached_tokens`). Anthropic counts it, and what it
    wrote there, beside the input (`cache_read_input_tokens`, `cache_creation_...`); in a record all input is
    one.
    """
    within = {**_inner(usage, "prompt_tokens_details"), **_inner(usage, "completion_tokens_details"), **usage}
    read = _count(usage, "cache_read_input_tokens")
    written_1h = _count(usage, "cache_creation_1h_tokens")
    written_5m = _count(usage, "cache_creation_5m_tokens")
    # Where only the sum is told, it was the cache of five minutes, which is the default.
    written_5m = max(written_5m, _count(usage, "cache_creation_input_tokens") - written_1h)
    return {
        "input_tokens": _count(usage, "prompt_tokens") + read + written_5m + written_1h,
        "output_tokens": _count(usage, "completion_tokens"),
        "cached_input_tokens": read or _count(within, "cached_tokens"),
        "cache_write_5m_tokens": written_5m,
        "cache_write_1h_tokens": written_1h,
        "reasoning_tokens": _count(within, "reasoning_tokens"),
    }


def attach_ring(ring: Any, queue: UsageQueue, settings: Settings, *, send_cost: bool) -> None:  # noqa: ANN401 - an LLMRing
    """Replace what a ring logs with, and what the decorators log with that name this server."""
    if ring.log_conversations:
        log.warning("conversations are not kept by LLMRing API: only the usage of calls is sent")
    ring.log_conversations = False
    ring.log_metadata = True
    ring.logging_service = QueueingLog(queue, ring.origin, send_cost=send_cost)
    with _lock:
        _queues[settings.base_url] = (settings.api_key, queue)
        decorators.ServerClient = _open_client


class _QueueingClient(ServerClient):  # type: ignore[misc]  # likewise
    """What a decorator opens for one call."""

    def __init__(self, queue: UsageQueue) -> None:
        self._queue = queue

    async def post(self, path: str, json: Any = None, **_: Any) -> dict[str, Any]:  # noqa: ANN401 - as there
        """Queue a record. What is no record has no place here: conversations are not kept."""
        if path == "/api/v1/log" and isinstance(json, dict):
            fields = {name: value for name, value in json.items() if name in USAGE_FIELDS}
            return {"idempotency_key": self._queue.put(fields)}
        raise ValueError(f"LLMRing API keeps no conversations: {path}")


def _open_client(base_url: str, api_key: str | None = None, timeout: float = 30.0) -> ServerClient:
    own_key, queue = _queues.get(base_url.rstrip("/"), (None, None))
    if queue is not None and not queue.is_closed and api_key in (None, own_key):
        return _QueueingClient(queue)
    return ServerClient(base_url=base_url, api_key=api_key, timeout=timeout)


def _count(usage: Mapping[str, Any], name: str) -> int:
    return int(usage.get(name) or 0)


def _inner(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = usage.get(name)
    return found if isinstance(found, Mapping) else {}


_lock = threading.Lock()
_queues: dict[str, tuple[str | None, UsageQueue]] = {}
