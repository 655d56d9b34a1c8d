"""The methods that `LLMRing` gets."""

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from llmring.api.calls import Day, day_text, registry, usage
from llmring.api.exceptions import APIConfigurationError
from llmring.api.models.registry import Model
from llmring.api.queue import UsageQueue
from llmring.api.ring.kept import export_kept
from llmring.api.ring.loop import run_aside
from llmring.api.service import APIService, is_looping


async def complete_async(
    self: Any,  # noqa: ANN401 - an LLMRing
    model: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    metadata: Mapping[str, Any] | None = None,
    profile: str | None = None,
    **kwargs: Any,  # noqa: ANN401 - as for LLMRequest
) -> Any:  # noqa: ANN401 - an LLMResponse
    """Ask a model, and have the usage logged.

    Args:
        self: the ring.
        model: `provider:model`, an alias, or a model's name as the registry has it.
        messages: objects with `role` and `content`.
        metadata: goes with the usage record.
        profile: as for `chat`.
        kwargs: further fields of an `LLMRequest`.

    Returns:
        The `LLMResponse`, whose `usage` has the attributes of `ResponseUsage` as well.
    """
    from llmring.schemas import LLMRequest

    from llmring.api.attach import call_started_at

    request = LLMRequest(
        model=await _full_name(self, model, profile),
        messages=list(messages),
        metadata=None if metadata is None else dict(metadata),
        **kwargs,
    )
    token = call_started_at.set(time.monotonic())
    try:
        response = await self.chat(request, profile=profile)
    finally:
        call_started_at.reset(token)
    if response.usage is not None:
        response.usage = ResponseUsage(response.usage)
    return response


def complete(self: Any, model: str, messages: Sequence[Mapping[str, Any]], **kwargs: Any) -> Any:  # noqa: ANN401
    """`complete_async`, waited for. Use one or the other with one ring: connections belong to a loop.

    Raises:
        RuntimeError: an event loop runs in this thread, which waiting would stop.
    """
    if is_looping():
        raise RuntimeError("an event loop runs in this thread: await complete_async() instead")
    return run_aside(complete_async(self, model, messages, **kwargs))


def list_models(self: Any, **kwargs: Any) -> list[Model]:  # noqa: ANN401 - an LLMRing; as for APIService
    """The models of the API's registry, by `provider=`, `providers=`, `capabilities=`. Never to be awaited.

    It is fast where the registry is cached, and waits for the server where it is not.

    Raises:
        APIError: as for `APIService.list_models`.
    """
    return _service_of(self).run(registry.list_models, **kwargs)


def get_model(self: Any, name: str, **kwargs: Any) -> Model:  # noqa: ANN401 - likewise
    """One model of the API's registry. Never to be awaited; see `list_models`.

    Raises:
        APINotFoundError: there is none of that name, or several.
    """
    return _service_of(self).run(registry.get_model, name, **kwargs)


def export_usage_logs(
    self: Any,  # noqa: ANN401 - an LLMRing
    *,
    start_date: Day | None = None,
    end_date: Day | None = None,
    format: Literal["json", "ndjson"] = "json",  # noqa: A002 - the name of the specification
) -> str:
    """The usage that this machine kept (`use_local_db=True`), or that the API has. Never to be awaited.

    Args:
        self: the ring.
        start_date: a day in UTC or an instant, included.
        end_date: a day, which counts whole, or an instant, which is not included.
        format: a JSON array, or a JSON object a line.
    """
    queue: UsageQueue | None = self.local_usage
    if queue is None:
        service = _service_of(self)
        return service.run(usage.export_usage_logs, start_date=start_date, end_date=end_date, format=format)
    return export_kept(queue, day_text(start_date), day_text(end_date), lines=format == "ndjson")


class ResponseUsage(dict[str, Any]):
    """A response's usage: the dictionary that it was, and its parts by name."""

    @property
    def input_tokens(self) -> int:
        """All input."""
        return int(self.get("prompt_tokens") or 0)

    @property
    def output_tokens(self) -> int:
        """All output."""
        return int(self.get("completion_tokens") or 0)

    @property
    def total_tokens(self) -> int:
        """Input and output."""
        return int(self.get("total_tokens") or self.input_tokens + self.output_tokens)

    @property
    def cost(self) -> Decimal | None:
        """What the ring calculated, in dollars, to a trillionth; None where it knew no price."""
        cost = self.get("cost")
        return None if cost is None else Decimal(repr(cost)).quantize(Decimal("1e-12")).normalize() + 0


def _service_of(ring: Any) -> APIService:  # noqa: ANN401 - an LLMRing
    service: APIService | None = getattr(ring, "api_service", None)
    if service is None:
        raise APIConfigurationError("this ring has no API: give LLMRing an api_service or an api_url")
    return service


async def _full_name(ring: Any, model: str, profile: str | None) -> str:  # noqa: ANN401 - an LLMRing
    """`provider:model` of a model that one of the ring's providers has; anything else as it is."""
    if ":" in model or ring.has_alias(model, profile):
        return model
    for provider in ring.providers:
        found = await ring.get_model_from_registry(provider, model)
        if found is not None:
            return f"{provider}:{found.model_name}"
    return model
