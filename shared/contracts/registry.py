"""The model registry on the wire: snapshots, their models and prices, and the event of a publish.

Prices are dollars per million tokens, exact decimals; `None` is "no price", `0` is a price. Field names are
those of the LLMModel of the integration specification and of the public registry's own files.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from shared.contracts.usage import Instant

LongContextPricing = Literal["whole_request", "marginal"]
TieredService = Literal["batch", "flex", "priority"]
TIERED_SERVICES: Final[tuple[TieredService, ...]] = ("batch", "flex", "priority")
"""The service tiers that may have a price set of their own; `standard` is the model's own prices."""


class TokenPrices(msgspec.Struct, frozen=True, kw_only=True):
    """The price of each kind of token, in dollars per million.

    A part (cached, written to cache, thinking, audio) without a price of its own bills at the price of its
    whole (`input` or `output`). `cached_input` and `cache_read` are one price under two providers' names:
    `cached_input` is read first, `cache_read` where it is null.
    """

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
    """The prices of requests with more than `above_tokens` of input, all of it counted.

    A price that is null here is that of the set which the step belongs to.
    """

    above_tokens: int


class Prices(TokenPrices, frozen=True, kw_only=True):
    """One set of prices.

    Attributes:
        dollars_per_request: what each request costs besides its tokens.
        long_context_steps: other prices above some numbers of input tokens, lowest first; the highest that
            is passed holds for the whole request. A model has these, or a `long_context_threshold_tokens`
            with its three prices, which say the same of one step.
    """

    dollars_per_million_tokens_input_long_context: Decimal | None = None
    dollars_per_million_tokens_output_long_context: Decimal | None = None
    dollars_per_million_tokens_cached_input_long_context: Decimal | None = None
    dollars_per_request: Decimal | None = None
    long_context_steps: list[LongContextStep] = []


STEP_PRICE_FIELDS: Final[tuple[str, ...]] = TokenPrices.__struct_fields__
"""The names of the prices that a long-context step may have."""

PRICE_FIELDS: Final[tuple[str, ...]] = tuple(
    name for name in Prices.__struct_fields__ if name != "long_context_steps"
)
"""The names of all single prices, each of which a model and each of its tiers may have."""


class Model(Prices, frozen=True, kw_only=True, weakref=True):
    """One model: what it can do, its limits, its names and its prices.

    Attributes:
        max_context: the limit of input tokens; `max_input_tokens` is the same limit under its other name.
        model_aliases: other names of this model within its provider; exact, case counts.
        is_active: False for a retired model, which stays listed and priced.
        inactive_from: the instant of retirement, where it is retired.
        created_at: when this entry came into the registry; kept by the registry.
        updated_at: when anything in this entry last changed; kept by the registry.
        long_context_threshold_tokens: above it (all input counts) the long-context prices apply.
        long_context_pricing: `marginal` bills only the input above the threshold at the long-context prices;
            the default, None or `whole_request`, bills the whole request at them.
        service_tiers: price sets of other service tiers. A tier without a set is not priced.
        cache_storage_cost_per_million_tokens_per_hour: shown only; records carry no hours.
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
    long_context_pricing: LongContextPricing | None = None
    service_tiers: dict[str, Prices] = {}

    is_active: bool = True
    inactive_from: datetime | None = None
    added_date: date | None = None
    release_date: date | None = None
    deprecated_date: date | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


CAPABILITIES: Final[dict[str, str]] = {
    name.removeprefix("supports_"): name for name in Model.__struct_fields__ if name.startswith("supports_")
} | {"reasoning": "is_reasoning_model"}
"""Every capability one can filter by, and the field of `Model` that says whether a model has it."""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """Where a provider's own API lives; None where that is not known."""

    name: str
    base_url: str | None = None
    models_endpoint: str | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable version of the whole registry.

    Attributes:
        version: `YYYY.MM.DD`, or `YYYY.MM.DD.n` for the n-th publish of a day.
        effective_from: the instant from which its prices hold; records of earlier instants do not use it.
        models: by `provider:model_name`.
        providers: by the provider's name in a model.
    """

    version: str
    generated_at: datetime
    effective_from: datetime
    models: dict[str, Model]
    providers: dict[str, Provider]


class VersionListing(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `GET /registry/versions`.

    Attributes:
        digest: SHA-256 of the snapshot's bytes, lower-case hex.
        models: how many models it lists, the retired ones included.
    """

    version: str
    generated_at: datetime
    effective_from: datetime
    digest: str
    models: int


class VersionList(msgspec.Struct, frozen=True):
    """`GET /registry/versions`: every version, newest first."""

    versions: list[VersionListing]


class PricedTime(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which a model's prices were what they were.

    Attributes:
        version: the first version that has these prices then.
        effective_to: null where nothing else is known to follow.
        prices: every field of `Model` that says what something costs and is not null.
    """

    version: str
    effective_from: datetime
    effective_to: datetime | None
    prices: dict[str, Any]


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /registry/models/{provider}/{model}`.

    Attributes:
        version: the version whose entry this is.
        key: the model's key.
        resolved_from: the provider and name that were asked for; null where they are the key itself.
        aliases: its other names.
        price_history: newest first, what is announced included.
    """

    version: str
    key: str
    resolved_from: str | None
    aliases: list[str]
    model: Model
    price_history: list[PricedTime]


class CurrentBook(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /registry/{provider}/models.json`; `version` is the provider's own number."""

    provider: str
    version: int
    updated_at: datetime
    models: dict[str, Model]


class NumberedBook(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /registry/{provider}/v/{number}/models.json`: the same with the models as a list."""

    provider: str
    version: int
    updated_at: datetime
    models: list[Model]


class RegistryPublished(msgspec.Struct, frozen=True, kw_only=True):
    """Event `registry.published`: a version is committed and can be read. It may be told more than once."""

    v: int = 1
    version: str
    generated_at: Instant
    effective_from: Instant
    digest: str
