"""What a call costs by the imported registry and by the package's own calculation: to the last digit.

Every model of the package is tried with every usage below, at each service tier that it has. Where the two
differ, a rule says why, and the table at the end shows one case of each with both figures.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

import pytest
from genai_prices import Usage
from genai_prices.data import providers as package_providers
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices, TimeOfDateConstraint

from services.registry.importers.package import read_package
from services.registry.importing import fit
from services.registry.snapshot import decode_snapshot, encode_snapshot
from shared.contracts.registry import Model, Snapshot
from shared.pricing.rates import quote
from shared.pricing.tokens import Tokens

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
CONTEXTS = {
    "standard": None,
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
USAGES = (
    Tokens(),
    Tokens(input=1),
    Tokens(output=1),
    Tokens(input=1234, output=567),
    Tokens(input=10_000, output=1_000, cached_input=4_000),
    Tokens(input=10_000, output=1_000, cached_input=10_000),
    Tokens(input=9_000, output=10, cache_write_5m=5_000),
    Tokens(input=9_000, output=10, cache_write_1h=5_000),
    Tokens(input=9_000, output=10, cached_input=1, cache_write_5m=2, cache_write_1h=3, audio_input=4),
    Tokens(input=800, output=900, audio_input=700, audio_output=600),
    Tokens(input=800, output=900, reasoning=650, audio_output=50),
    Tokens(input=999_999_999, output=999_999_999, cached_input=7),
)


class Case(NamedTuple):
    provider: Provider
    model: ModelInfo
    tier: str
    prices: ModelPrice
    tokens: Tokens

    @property
    def key(self) -> str:
        return f"{self.provider.id}:{self.model.id}"

    def by_package(self, **besides: int) -> Decimal:
        tokens = self.tokens
        counts = {
            "input_tokens": tokens.input,
            "output_tokens": tokens.output,
            "cache_read_tokens": tokens.cached_input,
            "cache_write_tokens": tokens.cache_write_5m + tokens.cache_write_1h,
            "cache_write_5m_tokens": tokens.cache_write_5m,
            "cache_write_1h_tokens": tokens.cache_write_1h,
            "input_audio_tokens": tokens.audio_input,
            "output_audio_tokens": tokens.audio_output,
            "output_reasoning_tokens": tokens.reasoning,
            "cache_audio_read_tokens": 0,  # the parts do not overlap, and it wants to be told so
        }
        usage = Usage(**counts | besides)
        return self.model.calc_price(
            usage, self.provider, genai_request_timestamp=AT, price_context=CONTEXTS[self.tier]
        ).total_price

    def by_registry(self) -> Decimal | None:
        return quote(self.tokens, registry()[self.key], self.tier).cost


@cache
def registry() -> dict[str, Model]:
    """The models as every ingest process reads them."""
    fitted = fit(read_package(AT), None, keep_others=True)
    snapshot = Snapshot(
        version="2026.11.29", generated_at=AT, effective_from=AT, models=fitted.models, providers={}
    )
    return decode_snapshot(encode_snapshot(snapshot)).models


def list_cases() -> Iterator[Case]:
    for provider in package_providers:
        for model in provider.models:
            entry = registry()[f"{provider.id}:{model.id}"]
            for tier in ("standard", *entry.service_tiers):
                prices = model.get_prices(AT, CONTEXTS[tier])
                for tokens in (*USAGES, *around_steps(prices)):
                    yield Case(provider, model, tier, prices, tokens)


def around_steps(prices: ModelPrice) -> Iterator[Tokens]:
    """Below, at and above each step that any of the prices has."""
    starts = {
        tier.start
        for price in vars(prices).values()
        if isinstance(price, TieredPrices)
        for tier in price.tiers
    }
    for start in sorted(starts):
        for total in (start - 1, start, start + 1):
            yield Tokens(input=total, output=321)
            yield Tokens(input=total, output=1, cached_input=total // 2)
            yield Tokens(input=total, cache_write_5m=total // 3, cache_write_1h=total // 4)
            yield Tokens(input=total, output=50, audio_input=total // 5, audio_output=20, reasoning=10)


def explain(case: Case) -> str | None:
    """Why the two may differ, by the package's data alone."""
    conditions = [] if isinstance(case.model.prices, ModelPrice) else case.model.prices
    if any(isinstance(each.constraint, TimeOfDateConstraint) for each in conditions):
        return "the price depends on the time of day"
    if {"output_image_mtok", "output_video_mtok"} & vars(case.model.get_prices(AT)).keys():
        return "images in the output are priced apart"
    if case.prices.input_mtok is None and case.prices.output_mtok is None:
        return "the package has no price of tokens"
    plain_input = case.tokens.input - case.tokens.cached_input
    if case.prices.input_mtok is None and plain_input:
        return "the package has no price of input, and bills it with nothing"
    if case.prices.output_mtok is None and case.tokens.output:
        return "the package has no price of output, and bills it with nothing"
    return None


def test_every_model_costs_what_the_package_says_at_every_tier_step_and_kind_of_token() -> None:
    compared: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for case in list_cases():
        reason = explain(case)
        ours = case.by_registry()
        if reason is None:
            assert ours == case.by_package(), (case.key, case.tier, case.tokens, case.prices)
            compared[case.provider.id] += 1
            seen[case.tier] += 1
            for name, price in vars(case.prices).items():
                seen[name] += 1
                seen["two steps"] += isinstance(price, TieredPrices) and len(price.tiers) > 1
        else:
            assert ours is None, (case.key, case.tier, case.tokens)
    assert sum(compared.values()) > 20_000
    assert len(compared) == len(package_providers)
    assert min(seen[kind] for kind in KINDS) > 10, seen


KINDS = (
    *CONTEXTS,
    *("two steps", "requests_kcount", "input_audio_mtok", "output_audio_mtok", "cache_read_mtok"),
    *("cache_write_mtok", "cache_write_1h_mtok", "output_reasoning_mtok"),
)

DIFFERENCES: tuple[tuple[str, str, dict[str, Any], dict[str, Any], str | None, str], ...] = (
    # reason; model; what a record says; what the package is told besides; our cost; its cost
    (
        "A version has one price, and this one is another at night",
        "deepseek:deepseek-chat",
        {"input": 1000, "output": 100},
        {},
        None,
        "0.00038",
    ),
    (
        "The package has no price and bills nothing; a price that is not known is not 0",
        "github-copilot:gpt-4o",
        {"input": 1000, "output": 100},
        {},
        None,
        "0",
    ),
    (
        "The package has no price of an embedding's output, and bills it with nothing",
        "openai:text-embedding-3-small",
        {"input": 1000, "output": 100},
        {},
        None,
        "0.00002",
    ),
    (
        "A record does not count web searches",
        "openai:gpt-4.1",
        {"input": 1000, "output": 100},
        {"web_searches": 3},
        "0.0028",
        "0.0328",
    ),
    (
        "A record does not count searches in stored files",
        "openai:gpt-4.1",
        {"input": 1000, "output": 100},
        {"storage_searches": 3},
        "0.0028",
        "0.0103",
    ),
    (
        "A record's parts do not overlap: audio read from the cache is cached input",
        "google:gemini-2.5-flash",
        {"input": 1000, "output": 100, "cached_input": 300},
        {"cache_audio_read_tokens": 300, "input_audio_tokens": 300},
        "0.000469",
        "0.00049",
    ),
    (
        "A record does not tell images going in from text",
        "google:gemini-3.1-flash-live-preview",
        {"input": 1000, "output": 100},
        {"input_image_tokens": 400},
        "0.0012",
        "0.0013",
    ),
    (
        "A record does not tell images coming out from text, at twelve times the price",
        "google:gemini-2.5-flash-image",
        {"input": 1000, "output": 1290},
        {"output_image_tokens": 1290},
        None,
        "0.039",
    ),
    (
        "A record does not count seconds",
        "groq:whisper-large-v3",
        {},
        {"audio_seconds": 60, "input_audio_seconds": 60},
        None,
        "0.00185",
    ),
    (
        "A record does not count pages",
        "mistral:mistral-ocr-2505",
        {},
        {"input_document_pages": 10},
        None,
        "0.01",
    ),
    (
        "A record does not tell citations from other output",
        "perplexity:sonar-deep-research",
        {"input": 1000, "output": 100},
        {"output_citation_tokens": 40},
        "0.0028",
        "0.00256",
    ),
)


@pytest.mark.parametrize("difference", DIFFERENCES, ids=[each[1] + " " + each[0] for each in DIFFERENCES])
def test_each_difference_has_its_reason(
    difference: tuple[str, str, dict[str, int], dict[str, int], str | None, str],
) -> None:
    reason, key, record, besides, ours, theirs = difference
    provider, model = next(
        (provider, model)
        for provider in package_providers
        for model in provider.models
        if f"{provider.id}:{model.id}" == key
    )
    case = Case(provider, model, "standard", model.get_prices(AT), Tokens(**record))
    assert case.by_registry() == (None if ours is None else Decimal(ours)), reason
    assert case.by_package(**besides) == Decimal(theirs), reason
