"""The model registry. Prices are dollars per million tokens; None is no price, 0 is a price."""

from datetime import date, datetime
from decimal import Decimal
from typing import Final

import msgspec


class TokenPrices(msgspec.Struct, frozen=True, kw_only=True):
    """The price of each kind of token. A part without a price of its own bills at the price of its whole."""

    dollars_per_million_tokens_input: Decimal | None = None
    dollars_per_million_tokens_output: Decimal | None = None
    dollars_per_million_tokens_cached_input: Decimal | None = None
    dollars_per_million_tokens_cache_read: Decimal | None = None
    dollars_per_million_tokens_cache_write_5m: Decimal | None = None
    dollars_per_million_tokens_cache_write_1h: Decimal | None = None
    dollars_per_million_tokens_output_thinking: Decimal | None = None
    dollars_per_million_tokens_audio_input: Decimal | None = None
    dollars_per_million_tokens_audio_output: Decimal | None = None


class LongContextStep(TokenPrices, frozen=True, kw_only=True):
    """Other prices for requests with more than `above_tokens` of input."""

    above_tokens: int


class Prices(TokenPrices, frozen=True, kw_only=True):
    """One set of prices. `dollars_per_request` is added to each request."""

    dollars_per_million_tokens_input_long_context: Decimal | None = None
    dollars_per_million_tokens_output_long_context: Decimal | None = None
    dollars_per_million_tokens_cached_input_long_context: Decimal | None = None
    dollars_per_request: Decimal | None = None
    long_context_steps: list[LongContextStep] = []


class Model(Prices, frozen=True, kw_only=True):
    """One model: what it can do, its limits, its names and its prices.

    Attributes:
        max_context: the limit of input tokens; `max_input_tokens` is the same under its other name.
        model_aliases: other names within its provider; case counts.
        is_active: False for a retired model, which stays listed and priced.
        service_tiers: prices of other service tiers.
    """

    provider: str
    model_name: str
    display_name: str | None = None
    description: str | None = None
    model_aliases: list[str] = []
    model_family: str | None = None

    max_context: int | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    max_tools: int | None = None
    min_recommended_reasoning_tokens: int | None = None
    max_temperature: Decimal | None = None
    min_temperature: Decimal | None = None
    temperature_values: list[Decimal] | None = None

    supports_vision: bool = False
    supports_function_calling: bool = False
    supports_json_mode: bool = False
    supports_parallel_tool_calls: bool = False
    supports_audio: bool | None = None
    supports_caching: bool | None = None
    supports_documents: bool | None = None
    supports_json_schema: bool | None = None
    supports_logprobs: bool | None = None
    supports_long_context_pricing: bool | None = None
    supports_multiple_responses: bool | None = None
    supports_pdf_input: bool | None = None
    supports_streaming: bool | None = None
    supports_system_message: bool | None = None
    supports_temperature: bool | None = None
    supports_thinking: bool | None = None
    supports_tool_choice: bool | None = None
    is_reasoning_model: bool | None = None
    requires_flat_input: bool | None = None
    tool_call_format: str | None = None
    api_endpoint: str | None = None

    cache_storage_cost_per_million_tokens_per_hour: Decimal | None = None
    long_context_threshold_tokens: int | None = None
    long_context_pricing: str | None = None
    service_tiers: dict[str, Prices] = {}

    is_active: bool = True
    inactive_from: datetime | None = None
    added_date: date | None = None
    release_date: date | None = None
    deprecated_date: date | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def key(self) -> str:
        """`provider:model_name`."""
        return f"{self.provider}:{self.model_name}"


CAPABILITIES: Final[dict[str, str]] = {
    name.removeprefix("supports_"): name for name in Model.__struct_fields__ if name.startswith("supports_")
} | {"reasoning": "is_reasoning_model"}
"""Every capability to filter by, and the field of `Model` that tells of it."""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """Where a provider's own API lives; None where that is not known."""

    name: str
    base_url: str | None = None
    models_endpoint: str | None = None


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the registry, whole or filtered.

    Attributes:
        version: `YYYY.MM.DD`, or `YYYY.MM.DD.n`.
        models: by `provider:model_name`.
        providers: by name.
    """

    version: str
    generated_at: datetime
    effective_from: datetime | None = None
    models: dict[str, Model]
    providers: dict[str, Provider] = {}
